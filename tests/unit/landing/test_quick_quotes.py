"""csv with quotes lands the same by the quick way as by the exact one, whatever stands within, around and between."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from lakehouse.contracts.forms import CsvForm
from lakehouse.landing import quick_csv, quick_rows
from lakehouse.landing.pieces import Piece
from lakehouse.landing.quick_quotes import Quoting
from lakehouse.landing.quick_rows import Rest, TooFewPlain
from tests.unit.landing.both_ways import COLUMNS, NAMES, csv_of, landed, rows_of
from tests.unit.landing.conftest import House

# Fields as they are written: what stands now and then in place of a good one.
ODDLY_QUOTED = {
    "meter": ['""', '" 7"', '"7 "', '7"', '"7"0', '"+7"'],
    "read_at": ['""', '"2024-05-05" 10:00:00', '" 2024-05-05 10:00:00 "', '"2024-10-27 02:30:00"'],
    "use_kwh": ['"12.5"', '" 12.5"', '"12.5 "', ' "12.5"', '"12.5" ', '""', '"1,5"', '"1e3"', '"5000.0005"', '"-1"',
                '1"2.5', '"12.5"""', '"x"', '"12.5"5'],
    "flow_m3": ['""', '"-"', '" - "', '"n/a"', '"0.0015"', "-"],
    "ratio": ['"0.1"', '""', '"1e-7"', '"nan"', '"1,5"'],
    "state": ['"ok"', '"OK"', '" ok"', '"ok" ', ' "ok"', '\u00a0"ok"', '""', '"n/a"'],
    "note": ['""', '" a "', ' "a"', '"a" ', '"a, b"', '"a,"', '","', '",,"', '"a ""b"""', '""""', '"""a"""', '"a"b', '""a',
             '5" pipe', '5" x 3"', 'a"', '"n/a"', '" "', '"æøå"', '"æ, ø"', "it's", '"it\'s"', '"far too long a note"', '\t"a"',
             '"a\tb"', '"#N/A"'],
    "on": ['"true"', '" true"', '"F"', '""', '"maybe"'],
}  # fmt: skip


def _quoted(
    seed: int, wrapped: Callable[[str, random.Random], bool], *, end: str = "\n", odd: float = 0.15, **more: str
) -> str:
    """Rows of which these fields are in quotes; some more are odd ones."""
    chance = random.Random(seed)
    rows = []
    for row in rows_of(seed, 700):
        row = [f'"{value}"' if wrapped(name, chance) else value for name, value in zip(NAMES, row, strict=True)]
        if chance.random() < odd:
            name = chance.choice(NAMES)
            row[NAMES.index(name)] = chance.choice(ODDLY_QUOTED[name])
        rows.append(row)
    return csv_of(rows, end=end, **more)


def _with_head(text: str, head: list[str]) -> str:
    return text.replace(",".join(NAMES), ",".join(head), 1)


def _with_decimal_commas(text: str) -> str:
    return "\n".join(line.replace(",", ";").replace(".", ",") for line in text.split("\n"))


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "some fields": (_quoted(11, lambda _, chance: chance.random() < 0.1), {}),
    "a text in each line, ends of two characters": (_quoted(13, lambda name, _: name == "note", end="\r\n"), {}),
    "every field, of the header too, ends of two characters": (
        _with_head(_quoted(14, lambda *_: True, end="\r\n"), [f'"{name}"' for name in NAMES]), {},
    ),
    "one delimiter within in each line": (
        _quoted(15, lambda name, _: name == "note").replace("note ", "n, "), {},
    ),
    "another quote": (
        _quoted(16, lambda name, _: name in ("note", "state"), odd=0.1).translate(str.maketrans("\"'", "'\"")),
        {"quote": "'", "escape": "'"},
    ),
    "decimal commas, and semicolons between": (
        _with_decimal_commas(_quoted(17, lambda name, _: name in ("note", "use_kwh"))),
        {"delimiter": ";", "decimal": ","},
    ),
    "decimal commas within quotes": (
        _quoted(18, lambda name, _: name in ("note", "use_kwh", "flow_m3", "ratio")).replace(".", ","),
        {"decimal": ","},
    ),
    "an escape of its own": (
        _quoted(19, lambda name, _: name == "note", odd=0).replace('"note 1', '"n\\" 1').replace("note 2", "n\\2"),
        {"escape": "\\"},
    ),
    "a head that leaves a quote open": (
        'of "2024\n' + _quoted(20, lambda name, _: name == "note"), {"skip_lines": 1, "null_values": ["n/a"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_both_ways_land_the_same(case: str, tmp_path: Path, ways: list[Rest | None]) -> None:
    text, form = FILES[case]
    quickly = landed(tmp_path / "quick", text, "a.csv", {"format": "csv", **form})
    (rest,) = ways
    assert rest is not None
    assert rest.plain > 0.4 * quickly["receipt"]["delivered"]
    quick_rows.LEAST_BYTES = 1 << 40
    exactly = landed(tmp_path / "exact", text, "a.csv", {"format": "csv", **form})
    assert ways[1] is None
    assert exactly["receipt"]["refused"] > 10 < exactly["receipt"]["duplicates"]
    assert quickly["faults"] == exactly["faults"]
    assert quickly["rows"] == exactly["rows"]
    assert quickly == exactly


def test_lines_with_each_field_in_quotes_and_a_delimiter_within_are_plain(
    tmp_path: Path, ways: list[Rest | None]
) -> None:
    rows = [[str(n), "2024-05-05 10:00:00", f"{n}.5", "0.1", "", "ok", f"n, {n}", "true"] for n in range(300)]
    text = csv_of([[f'"{value}"' for value in row] for row in rows])
    house = House(tmp_path)
    receipt = house.deliver(house.contract(COLUMNS), text, "a.csv")
    (rest,) = ways
    assert rest is not None
    # Those that csv_of puts between are none that are plain.
    assert (rest.plain, receipt["accepted"]) == (300, 300)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param('7,2024-05-05 10:00:00,1,1,1,ok,"of\ntwo",true', id="a value of two lines"),
        pytest.param(
            '7,2024-05-05 10:00:00,1,1,1,ok,"of\n1,2,3,4,5,6,7,8\ntwo",true', id="a line within like a record"
        ),
        pytest.param('7,2024-05-05 10:00:00,1,1,1,ok,"open,true', id="never closed"),
        pytest.param('7,2024-05-05 10:00:00,1,1,1,5" x,"open,true', id="never closed, with an even number of quotes"),
        pytest.param('7,2024-05-05 10:00:00,1,1,1,"ok"x","open,true', id="never closed, behind a closed one"),
        pytest.param('7,2024-05-05 10:00:00,1,1,1, "ok,",true', id="blanks before a quote, a delimiter behind"),
        # Lines that DuckDB ends, but of which it names the wrong line.
        pytest.param('7,2024-05-05 10:00:00,1,1,1,"ok"x,"a"y,true', id="text behind two quotes"),
        pytest.param('7,2024-05-05 10:00:00,1,1,1,ok,"a ""b""" ,true', id="a blank behind a value with an escape"),
    ],
)
def test_a_line_that_may_not_be_a_record_leaves_the_file_to_the_exact_way(
    record: str, tmp_path: Path, ways: list[Rest | None]
) -> None:
    # It stands behind a whole piece of plain ones.
    rows = rows_of(21, 600)
    text = _with_quoted_notes(rows[:500]) + "\n" + record + "\n" + _with_quoted_notes(rows[500:]).partition("\n")[2]
    quickly = landed(tmp_path / "quick", text, "a.csv", {"format": "csv"})
    assert ways == [None]
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", text, "a.csv", {"format": "csv"}) == quickly


def _with_quoted_notes(rows: list[list[str]]) -> str:
    return csv_of([[*row[:6], f'"{row[6]}"', row[7]] for row in rows])


def test_the_reader_is_given_no_quotes_that_it_does_not_understand(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    read = quick_csv._Reader.read

    def watched(reader: Any, text: bytes, **more: Any) -> pl.DataFrame:
        given.append(text)
        return read(reader, text, **more)

    monkeypatch.setattr(quick_csv._Reader, "read", watched)
    text = csv_of([["7", "2024-05-05 10:00:00", "1", "1", "1", "ok", note, "true"] for note in ['"a"', '"a"b']])
    house = House(tmp_path)
    house.deliver(house.contract(COLUMNS), text, "a.csv")
    assert given
    assert all(b'"a",' in text and b"b," in text and text.count(b'"') == 2 for text in given)


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("escape", ['"', "\\", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_said_to_be_records_are_such_to_duckdb(delimiter: str, escape: str, end: str, tmp_path: Path) -> None:
    chance = random.Random(22)
    signs = f'"""{delimiter}{delimiter}{escape}ab \t'
    lines = {"".join(chance.choices(signs, k=chance.randint(1, 12))) for _ in range(6_000)}
    quoting = Quoting.of(CsvForm(delimiter=delimiter, escape=escape))
    assert quoting is not None
    said = [line for line in sorted(lines) if _said(quoting, line + end)]
    assert len(said) > 0.4 * len(lines)
    # Behind each a line that must not be taken in.
    text = "".join(f"{line}{end}line{number}{delimiter}x{end}" for number, line in enumerate(said))
    file = tmp_path / "a.csv"
    file.write_text(text, newline="")
    source = (
        f"read_csv('{file}', auto_detect=false, header=false, columns={{'a': 'VARCHAR', 'b': 'VARCHAR'}}, "
        f"delim='{delimiter}', quote='\"', escape='{escape}', strict_mode=true, null_padding=false, "
        "store_rejects=true, rejects_limit=0)"
    )
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE read AS FROM {source}")
        found = connection.sql("SELECT count(DISTINCT a) FROM read WHERE a LIKE 'line%' AND b = 'x'").fetchone()
    assert found == (len(said),)


def _said(quoting: Quoting, line: str) -> bool:
    try:
        quoting.look(Piece(line.encode()))
    except TooFewPlain:
        return False
    return True


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"quote": "«"}, id="a quote of two bytes"),
        pytest.param({"escape": "§"}, id="an escape of two bytes"),
        pytest.param({"delimiter": " "}, id="a blank between fields"),
        pytest.param({"quote": ",", "escape": ","}, id="a quote that is the delimiter"),
    ],
)
def test_signs_that_are_not_told_apart_byte_by_byte_have_no_quick_way(form: dict[str, str]) -> None:
    assert Quoting.of(CsvForm(**form)) is None  # type: ignore[arg-type]
