"""The quick way is held to the exact one: the same rows in clean, the same faults, the same counts."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from lakehouse.contracts.odcs import Column
from lakehouse.landing import pieces, plain_rows, quick, quick_csv, quick_rows
from lakehouse.landing.plain_measures import Measuring
from lakehouse.landing.quick_columns import Planned, Way, read_values
from lakehouse.landing.quick_rows import Rest
from lakehouse.landing.text import NotPlain
from lakehouse.landing.unpack import PlainFile
from tests.unit.landing.both_ways import COLUMNS, NAMES, QUALITY, csv_of, landed, rows_of
from tests.unit.landing.conftest import House, column


def _ndjson(rows: list[list[str]]) -> str:
    chance = random.Random(2)
    lines = []
    for row in rows:
        record: dict[str, Any] = dict(zip(NAMES, row, strict=True))
        for name in ("meter", "use_kwh", "flow_m3"):
            if chance.random() < 0.7 and record[name].replace(".", "", 1).isdigit():
                record[name] = float(record[name]) if "." in record[name] else int(record[name])
        if record["note"] == "":
            record["note"] = chance.choice([None, 5, 1.50, {"a": 1.0}])
        text = json.dumps(record, ensure_ascii=chance.random() < 0.5)
        lines.append(text[:20] if chance.random() < 1 / 60 else text)
    return "\n".join(lines) + "\n"


FILES = {
    "csv": (csv_of(rows_of(3, 900)), "a.csv", {"format": "csv"}),
    "csv, shuffled, ends of two characters": (
        csv_of(rows_of(4, 900, shuffled=True), end="\r\n"), "a.csv", {"format": "csv"},
    ),
    "csv with decimal commas, a mark before it": (
        "\ufeff" + csv_of(
            [[v.replace(".", ",") if n in (2, 3, 4) else v for n, v in enumerate(row)] for row in rows_of(6, 600)],
            delimiter=";"), "a.csv", {"format": "csv", "delimiter": ";", "decimal": ","},
    ),
    "ndjson": (_ndjson(rows_of(7, 900)), "a.ndjson", {"format": "ndjson"}),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_both_ways_land_the_same(case: str, tmp_path: Path, ways: list[Rest | None]) -> None:
    text, name, form = FILES[case]
    quickly = landed(tmp_path / "quick", text, name, form)
    (rest,) = ways
    assert rest is not None
    assert rest.plain > 0.5 * quickly["receipt"]["delivered"]
    quick_rows.LEAST_BYTES = 1 << 40
    exactly = landed(tmp_path / "exact", text, name, form)
    assert ways[1] is None
    assert exactly["receipt"]["refused"] > 20 < exactly["receipt"]["duplicates"]
    assert quickly == exactly


def test_rows_that_do_not_fit_into_memory_land_the_same(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, name, form = FILES["csv, shuffled, ends of two characters"]
    held = landed(tmp_path / "held", text, name, form)
    monkeypatch.setattr(plain_rows, "HELD_BYTES", 20_000)
    monkeypatch.setattr(plain_rows, "FILED_BYTES", 10_000)
    assert landed(tmp_path / "spilt", text, name, form) == held


def test_a_second_delivery_is_held_to_the_rows_that_stand(tmp_path: Path, ways: list[Rest | None]) -> None:
    rows = [
        [str(n % 5), f"2024-05-{1 + n // 5 % 28:02} 10:00:00", f"{n}.5", "0.1", "1", "ok", "x", "true"]
        for n in range(100)
    ]
    house = House(tmp_path)
    contract = house.contract(COLUMNS)
    assert house.deliver(contract, csv_of(rows), "a.csv")["accepted"] == 100
    rows[3][2], rows[50][2] = "7.25", "8.25"
    receipt = house.deliver(contract, csv_of(rows), "b.csv")
    assert (receipt["accepted"], receipt["corrections"], receipt["duplicates"]) == (2, 2, 98)


@pytest.mark.parametrize("kind", ["integer", "string"])
def test_ids_are_pseudonyms_whichever_way_they_came(kind: str, tmp_path: Path, ways: list[Rest | None]) -> None:
    columns = [column("meter", kind, key=1, classification="identifier"), *COLUMNS[1:4]]
    lines = [f"{900 + n % 5},2024-05-{1 + n // 5:02} 10:00:00,{n}.5,0.1" for n in range(100)]
    text = "\n".join(["meter,read_at,use_kwh,flow_m3", *lines, "901,2024-05-02 10:00:00,77.5,0.1"])
    house = House(tmp_path)
    contract = house.contract(columns)
    assert house.deliver(contract, text, "a.csv")["corrections"] == 1
    assert ways[0] is not None
    meters = sorted(set(house.clean(contract, "meter::VARCHAR")))
    assert len(meters) == 5
    assert not {meter for (meter,) in meters} & {str(900 + n) for n in range(5)}
    again = house.deliver(contract, text.replace(",99.5,", ",98.5,"), "b.csv")
    assert (again["accepted"], again["corrections"], again["duplicates"]) == (3, 3, 98)


def test_a_file_of_wrong_lines_goes_the_exact_way_whole(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_rows, "JUDGED_AFTER", 100)
    monkeypatch.setattr(quick_rows, "MOST_LEFT", 0.3)
    rows = [
        [str(n), "2024-05-05 10:00:00", "1" if n < 200 else "none", "0", "1", "ok", "x", "true"] for n in range(900)
    ]
    house = House(tmp_path)
    receipt = house.deliver(house.contract(COLUMNS), csv_of(rows), "a.csv")
    assert ways == [None]
    assert (receipt["accepted"] > 190, receipt["refused"] > 690) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('meter,read_at,use_kwh\n"1\n",2024-05-05 10:00:00,1\n', id="a quoted value of two lines"),
        pytest.param("meter,read,use_kwh\n1,2024-05-05 10:00:00,1\n", id="another header"),
    ],
)
def test_what_the_quick_way_cannot_take_is_left_to_the_exact_one(
    text: str, tmp_path: Path, ways: list[Rest | None]
) -> None:
    house = House(tmp_path)
    receipt = house.deliver(house.contract(), text, "a.csv")
    assert ways == [None]
    assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda text: text[:-200] + b"\xe6" + text[-200:], id="a byte near its end is no text"),
        pytest.param(
            lambda text: text[: len(text) // 2] + text[len(text) // 2 :].replace(b"\n", b"\r\n"), id="two ends"
        ),
        pytest.param(lambda text: text[:-200] + text[-200:].replace(b",", b"\r,", 1), id="a lone return"),
        pytest.param(lambda text: text.replace(b"\n", b"\r"), id="returns alone"),
        pytest.param(lambda text: text.replace(b"\n", b"\r").replace(b"\r", b"\n", 1), id="returns but for one"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n").rstrip(b"\r\n") + b"\r", id="a return at its end"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.rstrip(b"\n"), id="plain, with a mark, without a last end"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_text_that_is_surveyed_as_it_is_read_is_what_a_survey_makes_of_it(
    kind: str,
    spoilt: Callable[[bytes], bytes],
    tmp_path: Path,
    ways: list[Rest | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fields in one order and no commas within, so that records are split at commas.
    rows = [
        [str(n % 50), f"2024-05-{1 + n // 50:02} 10:00:00", f"{n}.5", "0.1" if n else "x", "1", "ok", "æøå", "true"]
        for n in range(900)
    ]
    text = csv_of(rows) if kind == "csv" else "".join(
        json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
    )  # fmt: skip
    content = spoilt(text.encode())
    surveys = []
    survey = quick.surveyed

    def watched(file: PlainFile) -> PlainFile:
        surveys.append(file.surveyed)
        return survey(file)

    monkeypatch.setattr(quick, "surveyed", watched)
    form = {"format": kind, "encoding": "utf-8"}
    quickly = landed(tmp_path / "quick", content, f"a.{kind}", form)
    plain = content.startswith(b"\xef")
    assert surveys == ([] if plain else [False])
    # Damaged text is the exact way's.
    assert (ways[0] is None) == (b"\xe6" in content)
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", content, f"a.{kind}", form) == quickly
    assert quickly["receipt"]["accepted"] > 890


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_nul_in_a_text_refuses_its_row_whichever_way_it_went(
    kind: str, tmp_path: Path, ways: list[Rest | None]
) -> None:
    rows = [[str(n), "2024-05-05 10:00:00", "1", "0", "1", "ok", f"note {n}", "true"] for n in range(900)]
    rows[800][6], rows[700][0] = "no\0te", "70\0"
    text = (
        csv_of(rows)
        if kind == "csv"
        else "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows)
    )
    quickly = landed(tmp_path / "quick", text, f"a.{kind}", {"format": kind})
    assert ways[0] is not None
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", text, f"a.{kind}", {"format": kind}) == quickly
    errors = quickly["receipt"]["errors"]
    assert {(one["rule"], one["value"]) for one in errors if one["rule"] != "malformed_row"} == {
        ("wrong_encoding", "no\N{SYMBOL FOR NULL}te"),
        ("not_an_integer", "70\N{SYMBOL FOR NULL}"),
    }


def test_an_exponent_among_texts_with_its_letter_is_found(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of -5.94E-10 the exact way makes 0.000001: no reader's own opinion may stand."""
    rows = [
        [str(n), "2024-05-05 10:00:00", "1.5", "0", "1", "ok", ("here", "There")[n % 2], "true"] for n in range(900)
    ]
    sought: list[bool] = []
    scan = quick_csv._has_exponents

    def counted(piece: pieces.Piece) -> bool:
        sought.append(scan(piece))
        return sought[-1]

    monkeypatch.setattr(quick_csv, "_has_exponents", counted)
    landed(tmp_path / "plain", csv_of(rows), "a.csv", {"format": "csv"})
    assert sought == []
    rows[500][2], rows[501][3] = "1.5e1", "-5.94E-10"
    text = csv_of(rows)
    quickly = landed(tmp_path / "quick", text, "a.csv", {"format": "csv"})
    assert True in sought
    assert ways[1] is not None
    with_exponents = {n for n, line in enumerate(text.splitlines(), 1) if "1.5e1" in line or "5.94E-10" in line}
    assert len(with_exponents) == 2
    assert with_exponents <= set(ways[1].lines.tolist())
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", text, "a.csv", {"format": "csv"}) == quickly


@pytest.mark.parametrize("piece", [20_000, 60])
def test_a_last_line_that_was_cut_off_is_refused_alone(
    piece: int, tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # DuckDB gives up a file with two kinds of line end where the last line lacks fields.
    monkeypatch.setattr(pieces, "PIECE_BYTES", piece)
    rows = [[str(n), "2024-05-05 10:00:00", "1", "0", "1", "ok", "x", "true"] for n in range(30)]
    text = "\r\n".join(",".join(row) for row in [NAMES, *rows]).removesuffix(",x,true")
    quickly = landed(tmp_path / "quick", text, "a.csv", {"format": "csv"})
    assert ways[0] is not None
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", text, "a.csv", {"format": "csv"}) == quickly
    assert [(one["rule"], one["first_line"]) for one in quickly["receipt"]["errors"]] == [("malformed_row", 31)]


@pytest.mark.parametrize("skip", [0, 1])
def test_a_file_of_one_line_is_not_read_into_memory(skip: int, tmp_path: Path) -> None:
    path = tmp_path / "line"
    with path.open("wb") as file:
        file.truncate(64 * pieces.MAX_LINE_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(NotPlain):
            list(pieces.extents(path, skip=skip))
        assert tracemalloc.get_traced_memory()[1] < 4 * pieces.MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


def test_a_line_that_is_too_long_is_told_of(tmp_path: Path, ways: list[Rest | None]) -> None:
    text = f"meter,read_at,use_kwh\na,2024-05-05 10:00:00,{'1' * (pieces.MAX_LINE_BYTES + 9)}\n"
    house = House(tmp_path)
    receipt = house.deliver(house.contract(), text, "a.csv")
    assert ways == [None]
    assert (receipt["status"], receipt["errors"][0]["rule"]) == ("refused", "unreadable")
    assert "Line 2 of a.csv" in receipt["errors"][0]["expected"]


def test_blank_lines_of_ndjson_leave_it_to_the_exact_way(tmp_path: Path, ways: list[Rest | None]) -> None:
    # A comma in a value: records are not split at commas.
    record = '{"meter": "m,", "read_at": "2024-05-05 10:00:00", "use_kwh": %s}\n'
    text = record % 1 + "\n" + record % "true"
    house = House(tmp_path)
    receipt = house.deliver(house.contract(forms=[{"format": "ndjson"}]), text, "a.ndjson")
    assert ways == [None]
    assert receipt["errors"][0]["first_line"] == 3


def test_a_file_is_like_itself_whichever_way_it_went(tmp_path: Path, ways: list[Rest | None]) -> None:
    text = csv_of(rows_of(8, 900))
    profiles, levels = [], []
    for folder, least in (("quick", 0), ("exact", 1 << 40)):
        quick_rows.LEAST_BYTES = least
        house = House(tmp_path / folder)
        receipt = house.deliver(house.contract(COLUMNS, quality=QUALITY), text, "a.csv")
        profiles.append(receipt["profile"])
        levels.append(receipt["levels"])
    assert (ways[0] is None, ways[1] is None) == (False, True)
    quickly, exactly = (profile.pop("columns") for profile in profiles)
    assert profiles[0]["rows"] > 500
    assert {**profiles[0], "age_hours": 0} == {**profiles[1], "age_hours": 0}
    assert levels[0] == levels[1]
    assert set(quickly) == set(exactly) == set(NAMES)
    for name, one in quickly.items():
        # The estimate of the plain rows is off by some four percent.
        assert one.pop("distinct_share") == pytest.approx(exactly[name].pop("distinct_share"), rel=0.2)
        assert one["null_share"] == exactly[name]["null_share"]
        if one.get("quantiles"):
            assert one["mean"] == pytest.approx(exactly[name]["mean"])
            assert one["quantiles"] == pytest.approx(exactly[name]["quantiles"], rel=0.05)


@pytest.mark.parametrize(("distinct", "allowed"), [(3, 0), (400, 0), (5_000, 0.2), (60_000, 0.2)])
def test_distinct_values_are_counted_frame_by_frame(
    distinct: int, allowed: float, tmp_path: Path, house: House
) -> None:
    contract = house.contract(COLUMNS[:2])
    plain = plain_rows.PlainRows(contract, tmp_path)
    for first in range(0, 120_000, 30_000):
        lines = pl.int_range(first, first + 30_000, eager=True)
        times = lines.cast(pl.Datetime("us", "UTC"))
        rows = pl.DataFrame({"exchange_line": lines, "meter": lines % distinct, "read_at": times})
        plain.add(plain_rows.PlainFrame.of(rows))
    measuring = Measuring(plain.frames, contract, spread=["meter"])
    measuring.join()
    measured = measuring.found["meter"]
    assert measured.distinct == pytest.approx(distinct, rel=allowed)
    assert (measured.values, measured.least, measured.most) == (120_000, 0, distinct - 1)
    assert measured.total == sum(line % distinct for line in range(120_000))


# A record's values, as they are written, and what stands now and then in place of one.
@pytest.mark.parametrize(("precision", "scale"), [(18, 3), (5, 0), (9, 9), (38, 10), (12, 6), (18, 12), (4, 2)])
def test_a_decimal_found_again_in_a_binary_number_is_what_its_text_says(precision: int, scale: int) -> None:
    chance = random.Random(precision)
    behind = ["", "49999", "4999999999999999999", "5", "50", "50000000001", "500000000000000000000001", "9999999"]
    texts = [
        f"{chance.choice(['', '-', '+'])}{chance.randrange(10 ** chance.randrange(1, max(2, precision - scale + 2)))}."
        f"{str(chance.randrange(10**scale)).zfill(scale) if scale else ''}{chance.choice(behind)}"
        for _ in range(20_000)
    ]
    texts += [".5", "5.", "", "nan", "-inf", "00012.50", "-0", "-0.0", " 1", "1 ", "1_0", "0x1", "--1", "1..2", "x"]
    decimal = Column.model_validate(column("v", "number", physicalType=f"DECIMAL({precision},{scale})"))
    read = pl.Series(texts).cast(pl.Float64, strict=False)
    typed = read_values(Planned(column=decimal, place="v", way=Way.READER), read)
    given = pl.DataFrame({"text": texts})  # noqa: F841  DuckDB reads it
    exactly = duckdb.sql(f"SELECT TRY_CAST(text AS DECIMAL({precision},{scale})) AS v FROM given").pl()["v"]
    sure = ~pl.Series(typed.doubtful) & read.is_not_null()
    assert typed.values().filter(sure).to_list() == exactly.filter(sure).to_list()
    assert sure.sum() > 500
    # In the middle of two a number is never sure.
    middle = pl.Series([text.partition(".")[2][scale:].rstrip("0") == "5" for text in texts]) & exactly.is_not_null()
    assert middle.sum() > 100
    assert not (sure & middle).any()
