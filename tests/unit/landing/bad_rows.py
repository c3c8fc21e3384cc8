"""Bad deliveries whose rows are wrong, late, repeated, of another unit or not to be known."""

from __future__ import annotations

from tests.unit.landing.bad_deliveries import (
    CSV,
    DAY,
    GOOD,
    HEADER,
    NONE,
    ROWS,
    Case,
    ids,
    moving,
    of_rows,
    parquet,
    partly,
    private,
    refused,
    replaced,
    taken,
    with_rows,
    workbook,
)

LATER = "2024-01-02T00:00:00Z"
# Forty numbers of ten digits that are dates of birth, and as many that are none.
CPR_NUMBERS = [f"{day:02d}01{year:02d}1234" for day in range(1, 21) for year in (60, 61)]


def many(value: str = "{n}.5", *, note: str = "ok", day: str = "2024-02-01") -> str:
    """A delivery of forty meters, `value` and `note` with the number in place of `{n}`."""
    rows = (
        f"M{100 + n},{day}T00:00:00Z,{value.replace('{n}', str(100 + n))},{note.replace('{n}', str(100 + n))}"
        for n in range(40)
    )
    return "\n".join([HEADER, *rows]) + "\n"


def stands(value: float = 0.5, *, times: float = 1) -> dict[str, float]:
    return {f"M{100 + n}": round((100 + n + value) * times, 3) for n in range(40)}


HISTORY = tuple(many(day=f"2024-01-{day:02d}") for day in (10, 11, 12))

ROW_CASES: list[Case] = [
    partly("a number that is none", with_rows(f"M005,{DAY},12x7,bad"), "not_a_number"),
    partly("a number with thousands that the contract has not", with_rows(f'M005,{DAY},"1,234.5",bad'), "not_a_number"),
    partly("a decimal comma in one row", with_rows(f'M005,{DAY},"1,5",bad'), "mangled_by_excel"),
    refused(
        "decimal commas throughout, as Excel in Danish saves",
        lambda: CSV.replace(".5", ',5"').replace("Z,", 'Z,"'),
        "too_many_refused",
        told="mangled_by_excel",
    ),
    partly("a number that Excel took for a date", with_rows(f"M005,{DAY},jan-24,bad"), "mangled_by_excel"),
    partly("dates as Excel turns them", with_rows("M005,01-02-2024,1,bad"), "mangled_by_excel"),
    partly("a date as Excel counts it", with_rows("M005,45292,1,bad"), "mangled_by_excel"),
    partly("`#######` and `#N/A`", with_rows(f"M005,{DAY},1,#######", f"M006,{DAY},#N/A,bad"), "mangled_by_excel"),
    Case(
        name="a long id that Excel cut to `5,7E+17`",
        make=lambda: 'meter,code,note\n571313000000000001,000123,a\n"5,71313E+17",000124,b\n',
        status="partly_accepted",
        rule="mangled_by_excel",
        contract=ids,
        stands={"571313000000000001": 1},
    ),
    Case(
        name="a long id that is a number in a workbook: Excel keeps 15 digits",
        make=lambda: workbook(
            [["meter", "code", "note"], ["571313000000000001", "000123", "a"], [571313000000000002, "000124", "b"]]
        ),
        status="partly_accepted",
        rule="mangled_by_excel",
        contract=ids,
        file="r.xlsx",
        stands={"571313000000000001": 1},
    ),
    Case(
        name="zeros before an id that Excel took",
        make=lambda: "meter,code,note\n1,000123,a\n2,124,b\n",
        status="partly_accepted",
        rule="mangled_by_excel",
        contract=ids,
        stands={"1": 1},
    ),
    partly("day and month in another order", with_rows("M005,13/05/2024 08:00,1,bad"), "mangled_by_excel"),
    partly("29 February in a year that has none", with_rows("M005,2023-02-29T00:00:00Z,1,bad"), "not_a_timestamp"),
    partly(
        "24:00, and a minute 60",
        with_rows("M005,2024-01-01 24:00:30,1,bad", "M006,2024-01-01 10:60:00,1,bad"),
        "not_a_timestamp",
    ),
    partly(
        "a local time that the clock skips in spring",
        with_rows("M005,2024-03-31 02:30:00,1,bad"),
        "time_does_not_exist",
    ),
    partly(
        "a local time that the clock has twice, without an offset",
        with_rows("M005,2024-10-27 02:30:00,1,bad"),
        "time_ambiguous",
    ),
    partly("a negative reading", with_rows(f"M005,{DAY},-3,bad"), "below_minimum"),
    partly("a value beyond all measure", with_rows(f"M005,{DAY},9999999,bad"), "above_maximum"),
    partly("`inf` and `NaN`", with_rows(f"M005,{DAY},inf,bad", f"M006,{DAY},NaN,bad"), "not_a_number"),
    taken(
        "a date in the future: the contract sets no limit",
        with_rows("M005,2099-01-01T00:00:00Z,9,later"),
        stands={**GOOD, "M005": 9.0},
    ),
    partly(
        "9999-12-31, which stands for no date, as the time of a row",
        with_rows("M005,9999-12-31 00:00:00,9,open"),
        "above_maximum",
        told="before the year 9999",
    ),
    partly("a key without a value", with_rows(f",{DAY},1,bad"), "missing_value"),
    partly("an id of another form", with_rows(f"meter 5,{DAY},1,bad"), "wrong_form"),
    taken("a key twice in one file, the same row", with_rows(ROWS[0])),
    taken(
        "a key twice in one file, another value: the later line stands",
        with_rows(f"M001,{DAY},9.5,ok"),
        stands={**GOOD, "M001": 9.5},
    ),
    refused(
        "more than half of the rows wrong",
        of_rows(*ROWS[:1], *(f"M00{n},{DAY},x,bad" for n in range(2, 6))),
        "too_many_refused",
    ),
    refused("every row wrong", of_rows(*(f"M00{n},{DAY},x,bad" for n in range(1, 6))), "too_many_refused"),
    refused(
        "a column whose type has changed throughout",
        lambda: many("about {n}"),
        "type_changed",
        told="'use_kwh' is no number any more but looks like string",
    ),
    refused(
        "a type that has changed, in Parquet",
        lambda: parquet(meter=[f"M{n}" for n in range(100, 140)], read_at=[DAY] * 40, use_kwh=["high"] * 40),
        "type_changed",
        file="r.parquet",
    ),
    Case(name="the same file twice", make=lambda: CSV, status="repeated", before=(CSV,), stands=GOOD),
    Case(
        name="the same file under another name",
        make=lambda: CSV,
        status="repeated",
        before=(CSV,),
        stands=GOOD,
        file="other.csv",
    ),
    taken("the same rows in another order", lambda: "\n".join([HEADER, *reversed(ROWS)]) + "\n", before=(CSV,)),
    taken("a correction", of_rows(f"M001,{DAY},9.5,ok"), before=(CSV,), stands={**GOOD, "M001": 9.5}),
    Case(
        name="a correction, then the first version once more: its bytes change nothing",
        make=lambda: CSV,
        status="repeated",
        before=(CSV, f"{HEADER}\nM001,{DAY},9.5,ok\n"),
        stands={**GOOD, "M001": 9.5},
    ),
    taken(
        "a correction taken back, in a file of its own",
        of_rows(ROWS[0]),
        before=(CSV, f"{HEADER}\nM001,{DAY},9.5,ok\n"),
    ),
    taken(
        "rows of a period that stands in part: overlapping files",
        with_rows(f"M001,{LATER},7.5,ok"),
        before=(CSV,),
        stands={**GOOD, "M001": 7.5},
    ),
    taken("half a file, then the whole one", lambda: CSV, before=("\n".join([HEADER, *ROWS[:2]]) + "\n",)),
    taken(
        "rows two years late, older than all that stands",
        of_rows("M001,2022-01-01T00:00:00Z,4.5,late"),
        before=(CSV,),
        stands=GOOD,
    ),
    taken(
        "a restatement of a day two years back",
        of_rows("M001,2022-01-01T00:00:00Z,8.5,restated"),
        before=(f"{HEADER}\nM001,2022-01-01T00:00:00Z,4.5,first\n",),
        stands={"M001": 8.5},
    ),
    taken(
        "a correction that moves a row to another day",
        of_rows(f"M001,{LATER},1.5,moved"),
        before=(CSV,),
        contract=moving,
    ),
    refused(
        "the unit changed from kWh to Wh",
        lambda: many("{n}500"),
        "unit_changed",
        before=HISTORY,
        stands=stands(),
        told="1,000 times higher",
    ),
    refused(
        "the unit changed from kWh to MJ",
        lambda: many("365"),
        "unit_changed",
        before=tuple(many("101.4", day=f"2024-01-{d}") for d in (10, 11, 12)),
        stands={f"M{100 + n}": 101.4 for n in range(40)},
        told="3.6 times higher",
    ),
    taken(
        "values a thousand times higher, but too little is known of the dataset",
        lambda: many("{n}500"),
        before=HISTORY[:1],
        stands=stands(times=1000) | {f"M{100 + n}": (100 + n) * 1000 + 500.0 for n in range(40)},
    ),
    partly(
        "an e-mail address in a public column",
        with_rows(f"M005,{DAY},1,write to eva.holm@example.dk"),
        "personal_data",
        hidden="eva.holm",
    ),
    partly(
        "a CPR number with its dash in a public column",
        with_rows(f"M005,{DAY},1,cpr 010160-1234"),
        "personal_data",
        hidden="010160-1234",
    ),
    refused(
        "CPR numbers without dash throughout a public column",
        lambda: "\n".join([HEADER, *(f"M{100 + n},{DAY},1,{number}" for n, number in enumerate(CPR_NUMBERS))]) + "\n",
        "too_many_refused",
        hidden="0101601234",
    ),
    partly(
        "a telephone number in a public column",
        with_rows(f"M005,{DAY},1,+45 33 66 33 66"),
        "personal_data",
        hidden="33 66",
    ),
    partly(
        "an e-mail address in a malformed row",
        with_rows(f"M005,{DAY},1,ok,eva.holm@example.dk"),
        "malformed_row",
        hidden="eva.holm",
    ),
    taken("order numbers of ten digits, some dates by chance", lambda: many(note="98765{n}1{n}"[:11]), stands=stands()),
    partly(
        "a wrong value in a private column",
        with_rows(f"M005,{DAY},secret-77,bad"),
        "not_a_number",
        contract=private,
        hidden="secret-77",
    ),
    refused(
        "a renamed column of private data",
        replaced(("use_kwh", "use_in_kwh")),
        "missing_columns",
        contract=private,
        told="use_in_kwh",
        hidden="M001",
    ),
    refused(
        "two header lines of a report above the data",
        lambda: "Report of January\n\n" + CSV,
        "missing_columns",
        stands=NONE,
    ),
]
