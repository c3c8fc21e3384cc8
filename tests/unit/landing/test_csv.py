"""csv of any dialect: every value as it was meant, every row on its physical line."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any
from unicodedata import normalize

import pytest

from lakehouse.landing.text import CHUNK
from tests.unit.landing.conftest import House, column, faults

KEY = column("id", "integer", key=1)
NOTE = column("note", "string")
AMOUNT = column("amount", "number")
REGISTER = {"columns": [KEY, NOTE, AMOUNT], "kind": "snapshot"}


def rows(house: House, contract: Any) -> list[tuple[Any, ...]]:
    return house.clean(contract, "exchange_line, id, note, amount", "exchange_line")


DIALECTS: dict[str, tuple[dict[str, Any], str]] = {
    "comma": ({}, "id,note,amount\n1,æble,2.5\n"),
    "semicolon and decimal comma": ({"delimiter": ";", "decimal": ","}, "id;note;amount\n1;æble;2,5\n"),
    "tab": ({"delimiter": "\t"}, "id\tnote\tamount\n1\tæble\t2.5\n"),
    "pipe": ({"delimiter": "|"}, "id|note|amount\n1|æble|2.5\n"),
    "two characters": ({"delimiter": "||"}, "id||note||amount\n1||æble||2.5\n"),
    "decimal comma in quotes": ({"decimal": ","}, 'id,note,amount\n1,æble,"2,5"\n'),
    "thousands": ({"delimiter": ";", "decimal": ",", "thousands": "."}, "id;note;amount\n1;æble;2,5\n"),
    "single quotes": ({"quote": "'", "escape": "'"}, "id,note,amount\n'1','æble','2.5'\n"),
    "all quoted": ({}, '"id","note","amount"\n"1","æble","2.5"\n'),
    "byte-order mark": ({}, "\ufeffid,note,amount\n1,æble,2.5\n"),
    "carriage returns": ({}, "id,note,amount\r\n1,æble,2.5\r\n"),
    "old Mac": ({}, "id,note,amount\r1,æble,2.5\r"),
    "mixed line ends": ({}, "id,note,amount\r\n1,æble,2.5\n"),
    "no line end at the end": ({}, "id,note,amount\n1,æble,2.5"),
    "blanks around": ({}, "id , note, amount\n 1,  æble\t, 2.5\u00a0\n"),
    "reordered": ({}, "amount,id,note\n2.5,1,æble\n"),
    "delimiter at the end": ({}, "id,note,amount,\n1,æble,2.5,\n"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_reads_the_same(house: House, name: str) -> None:
    form, text = DIALECTS[name]
    contract = house.contract(**REGISTER, forms=[{"format": "csv", **form}])
    receipt = house.deliver(contract, text)
    assert (receipt["accepted"], receipt["refused"]) == (1, 0), receipt["errors"]
    assert rows(house, contract) == [(2, 1, "æble", Decimal("2.500"))]


@pytest.mark.parametrize("quickly", [False, True])
@pytest.mark.parametrize("line", ["sep=;\n", "\ufeffSEP=;\r\n", '"sep=;"\n', "sep=,\n", "sep=;;;\n", "sep=\t\n"])
def test_a_first_line_that_tells_excel_the_delimiter_is_no_header(
    house: House, line: str, quickly: bool, request: pytest.FixtureRequest
) -> None:
    left = request.getfixturevalue("ways") if quickly else []
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "delimiter": ";"}])
    many = "".join(f"{number};a;2.5\n" for number in range(3, 9000))
    receipt = house.deliver(contract, f"{line}id;note;amount\n1;æble;2.5\n2;æble;much\n{many}")
    assert (receipt["accepted"], receipt["refused"]) == (8998, 1)
    assert faults(receipt) == {("not_a_number", "amount"): (1, 4, "much")}
    assert rows(house, contract)[0] == (3, 1, "æble", Decimal("2.500"))
    assert not quickly or [rest.plain > 8000 for rest in left if rest] == [True]


def test_lines_that_a_contract_passes_over_are_no_more_for_that(house: House) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "delimiter": ";", "skip_lines": 1}])
    receipt = house.deliver(contract, "sep=;\nid;note;amount\n1;æble;2.5\n")
    assert receipt["accepted"] == 1
    assert rows(house, contract) == [(3, 1, "æble", Decimal("2.500"))]


def test_data_without_a_header_begins_behind_a_line_for_excel(house: House) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "delimiter": ";", "header": False}])
    house.deliver(contract, "sep=;\n1;æble;2.5\n")
    assert rows(house, contract) == [(2, 1, "æble", Decimal("2.500"))]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "iso-8859-1", "utf-8-sig"])
def test_encodings(house: House, encoding: str) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "encoding": encoding}])
    receipt = house.deliver(contract, "id,note,amount\n1,Rødgrød,2.5\n2,Å,1\n".encode(encoding))
    assert receipt["accepted"] == 2
    assert [row[2] for row in rows(house, contract)] == ["Rødgrød", "Å"]


@pytest.mark.parametrize(
    ("stated", "delivered"),
    [
        ("utf-8", "utf-16"),
        ("latin-1", "utf-8"),
        ("cp1252", "utf-8-sig"),
        ("utf-16", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "cp1252"),
    ],
)
def test_a_file_plainly_of_another_encoding_is_refused_whole(house: House, stated: str, delivered: str) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "encoding": stated}])
    receipt = house.deliver(contract, "id,note,amount\n1,Rødgrød,2.5\n".encode(delivered))
    assert receipt["status"] == "refused"
    assert receipt["errors"][0]["rule"] == "wrong_encoding"
    assert stated in receipt["message"]


@pytest.mark.parametrize("stated", ["latin-1", "cp1252"])
@pytest.mark.parametrize("before", [CHUNK - 30, 2 * CHUNK])
def test_letters_of_another_encoding_are_seen_wherever_they_begin(house: House, stated: str, before: int) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "encoding": stated}])
    plain = "id,note,amount\n" + "".join(f"{number},Bread,1\n" for number in range(before // 12))
    letters = "-1,Rødgrød,2.5\n-2,Ærø,1\n"
    receipt = house.deliver(contract, (plain + letters).encode())
    assert [(one["rule"]) for one in receipt["errors"]] == ["wrong_encoding"]
    assert "is in utf-8" in receipt["message"]
    assert house.deliver(contract, (plain + letters).encode(stated))["refused"] == 0


def test_a_row_with_bytes_that_are_no_text_is_refused_alone(house: House) -> None:
    contract = house.contract(**REGISTER)
    content = b"id,note,amount\n1,fine,1\n2,R\xf8d,2\n3,fine,3\n"
    receipt = house.deliver(contract, content)
    assert receipt["accepted"] == 2
    assert faults(receipt) == {("wrong_encoding", "note"): (1, 3, "R\N{REPLACEMENT CHARACTER}d")}


def test_preamble_header_and_blank_lines_before_it(house: House) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "skip_lines": 3}])
    house.deliver(contract, 'Station "A\n\nUnits in m\n\nid,note,amount\n1,x,2\n')
    assert rows(house, contract) == [(6, 1, "x", Decimal("2.000"))]


def test_header_that_spans_lines(house: House) -> None:
    note = {**NOTE, "physicalName": "note\n(free text)"}
    contract = house.contract([KEY, note, AMOUNT], kind="snapshot")
    house.deliver(contract, 'id,"note\n(free text)",amount\n1,x,2\n')
    assert rows(house, contract) == [(3, 1, "x", Decimal("2.000"))]


def test_without_a_header_columns_come_in_the_contract_s_order(house: House) -> None:
    contract = house.contract(**REGISTER, forms=[{"format": "csv", "header": False, "skip_lines": 1}])
    house.deliver(contract, "made on Monday\n1,x,2\n2,y,3\n")
    assert rows(house, contract) == [(2, 1, "x", Decimal("2.000")), (3, 2, "y", Decimal("3.000"))]


def test_values_with_line_breaks_quotes_and_delimiters(house: House) -> None:
    contract = house.contract(**REGISTER)
    house.deliver(contract, 'id,note,amount\n1,"a\n\n \nb, ""c""",2\n2,"x",3\n\n3,y,4\n')
    assert rows(house, contract) == [
        (2, 1, 'a\n\n \nb, "c"', Decimal("2.000")),
        (6, 2, "x", Decimal("3.000")),
        (8, 3, "y", Decimal("4.000")),
    ]


def test_a_quote_left_open_costs_its_own_line_only(house: House) -> None:
    contract = house.contract(**REGISTER)
    lines = ["id,note,amount", *(f'{n},"text {n}",{n}' for n in range(1, 301))]
    lines[50] = '50,"open,50'
    lines[150] = '150,"open again,150'
    receipt = house.deliver(contract, "\n".join(lines))
    assert (receipt["delivered"], receipt["accepted"]) == (300, 298)
    assert faults(receipt) == {("malformed_row", None): (2, 51, '50,"open,50')}
    assert all(line == number + 1 for line, number, *_ in rows(house, contract))


def test_a_quote_left_open_in_a_large_file_without_quotes(house: House) -> None:
    contract = house.contract(**REGISTER)
    lines = ["id,note,amount", *(f"{n},text {n},{n}" for n in range(1, 60_001))]
    lines[10] = '10,"open,10'
    receipt = house.deliver(contract, "\n".join(lines))
    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (60_000, 59_999, 1)
    assert max(row[0] for row in rows(house, contract)) == 60_001


def test_ragged_rows_are_malformed_on_their_lines(house: House) -> None:
    contract = house.contract(**REGISTER)
    receipt = house.deliver(contract, 'id,note,amount\n1,a,1\n2,b\n3,c,3,4,5\n4,"d"x,4\n5,e,5\n')
    assert (receipt["delivered"], receipt["accepted"]) == (5, 2)
    found = {(row["line"], row["rule"], row["value"]) for row in house.quarantine(contract, receipt)}
    assert found == {
        (3, "malformed_row", "2,b"),
        (4, "malformed_row", "3,c,3,4,5"),
        (5, "malformed_row", '4,"d"x,4'),
    }


def test_lines_of_blanks_are_no_rows_in_a_file_without_quotes(house: House) -> None:
    contract = house.contract(**REGISTER)
    receipt = house.deliver(contract, "id,note,amount\n1,a,1\n   \n2,b,2\n3,c\n\t\n4,d,4\n  ")
    assert (receipt["delivered"], receipt["accepted"]) == (4, 3)
    assert house.clean(contract, "exchange_line, id") == [(2, 1), (4, 2), (7, 4)]
    assert [row["line"] for row in house.quarantine(contract, receipt)] == [5]


def test_lines_of_delimiters_alone_are_no_rows_in_a_file_without_quotes(house: House) -> None:
    contract = house.contract(**REGISTER)
    receipt = house.deliver(contract, "id,note,amount\n1,a,1\n,,\n2,b\n, ,\t\n3,c,3\n,d,\n,,\n")
    assert (receipt["delivered"], receipt["accepted"]) == (4, 2)
    assert house.clean(contract, "exchange_line, id") == [(2, 1), (6, 3)]
    assert sorted(row["line"] for row in house.quarantine(contract, receipt)) == [4, 7]


def test_one_column_with_blank_lines(house: House) -> None:
    contract = house.contract([KEY], kind="snapshot")
    receipt = house.deliver(contract, 'id\n1\n\n2\n""\n  \n3\n')
    assert (receipt["delivered"], receipt["accepted"]) == (3, 3)
    assert house.clean(contract, "exchange_line, id") == [(2, 1), (4, 2), (7, 3)]


@pytest.mark.parametrize("place", [1, 2, 4])
@pytest.mark.parametrize("other", ["\n", "\r\n"])
def test_no_row_is_lost_where_most_lines_end_with_a_return_alone(house: House, place: int, other: str) -> None:
    lines = ["id,note,amount", *(f"{number},x,1" for number in range(1, 6))]
    content = "\r".join(lines[:place]) + other + "\r".join(lines[place:])
    contract = house.contract(**REGISTER)
    receipt = house.deliver(contract, content)
    assert (receipt["accepted"], receipt["warnings"]) == (5, []), receipt["message"]
    assert [(row[0], row[1]) for row in rows(house, contract)] == [(number + 1, number) for number in range(1, 6)]


def test_returns_that_end_a_few_lines_are_told_of(house: House) -> None:
    content = "id,note,amount\n1,x,1\n2,x,1\r3,x,1\r4,x,1\n5,x,1\n6,x,1\n"
    receipt = house.deliver(house.contract(**REGISTER), content)
    assert (receipt["accepted"], list(faults(receipt))) == (3, [("malformed_row", None)])


def test_lone_carriage_return_within_a_value(house: House) -> None:
    contract = house.contract(**REGISTER)
    house.deliver(contract, "id,note,amount\n1,a\rb,1\n2,c,2\n")
    assert rows(house, contract) == [(2, 1, "a b", Decimal("1.000")), (3, 2, "c", Decimal("2.000"))]


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ("\n", "no_header"),
        ("nr,note,amount", "missing_columns"),
        ("id,note,id", "duplicate_columns"),
        ("ID,note,amount", "missing_columns"),
    ],
)
def test_a_header_that_is_not_the_contract_s_is_refused_whole(house: House, header: str, rule: str) -> None:
    contract = house.contract(**REGISTER)
    receipt = house.deliver(contract, f"{header}\n" + ("" if rule == "no_header" else "1,a,1\n"))
    assert receipt["status"] == "refused"
    assert receipt["errors"][0]["rule"] == rule
    assert house.clean(contract) == []


@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_that_a_mac_writes_in_two_parts_are_the_contract_s(house: House, ours: Any, theirs: Any) -> None:
    place = column("place", "string", required=True) | {"physicalName": normalize(ours, "Målested")}
    contract = house.contract([KEY, place], kind="snapshot")
    receipt = house.deliver(contract, f"id,{normalize(theirs, 'Målested')}\n1,Århus\n")
    assert (receipt["status"], receipt["warnings"]) == ("accepted", [])
    assert house.clean(contract, "id, place") == [(1, "Århus")]


def test_unknown_columns_are_told_and_ignored_ones_are_not(house: House) -> None:
    contract = house.contract(**REGISTER, delivery={"ignored_columns": ["checksum"]})
    receipt = house.deliver(contract, "id,colour,amount,checksum,note\n1,red,2,x,n\n")
    assert [w["source_column"] for w in receipt["warnings"]] == ["colour"]
    assert receipt["status"] == "accepted"
    assert receipt["next_step"] == "Nothing has to be sent again; see what is worth a look."


def test_an_optional_column_may_be_missing(house: House) -> None:
    contract = house.contract(**REGISTER)
    house.deliver(contract, "id,amount\n1,2\n")
    assert rows(house, contract) == [(2, 1, None, Decimal("2.000"))]


def _random_file(chance: random.Random, end: str) -> tuple[str, list[tuple[int, str]], list[int]]:
    """A file with its good rows as (line, note), and the lines of its malformed ones."""
    text, line = f"id,note,amount{end}", 2
    good: list[tuple[int, str]] = []
    bad: list[int] = []
    for number in range(chance.randrange(1, 60)):
        kind = chance.choice(
            [
                "plain",
                "plain",
                "quoted",
                "broken",
                "blank",
                "spaces",
                "short",
                "long",
                "open",
                "garbage",
                "twice",
                "row",
            ]
        )
        if kind == "plain":
            record, note = f"{number},n{number},1", f"n{number}"
        elif kind == "quoted":
            note = f'a ""{number}"", b'
            record, note = f'{number},"{note}",1', note.replace('""', '"')
        elif kind == "broken":
            breaks = end * chance.randrange(1, 4)
            note = f"x{breaks}{chance.choice(['', ' ', 'mid'])}{end}y"
            record = f'{number},"{note}",1'
        else:
            record = {
                "blank": "",
                "spaces": "   ",
                "empty": ", ,",
                "short": f"{number},x",
                "long": f'{number},"x",1,2,3',
                "open": f'{number},"x,1',
                "garbage": f'{number},"x"y,1',
                "twice": f'"{number}"x,"x"y,1',
                "row": f'"{number}"x,"x"y,{number},a row behind,1',
            }[kind]
        if kind in ("plain", "quoted", "broken"):
            good.append((line, note))
        elif kind not in ("blank", "spaces", "empty"):
            bad.append(line)
        text += record + end
        line += record.count("\n") + 1
    return text, good, bad


@pytest.mark.parametrize("seed", range(24))
def test_any_mixture_of_good_and_broken_rows_is_told_apart_line_by_line(house: House, seed: int) -> None:
    chance = random.Random(seed)
    contract = house.contract(**REGISTER)
    text, good, bad = _random_file(chance, chance.choice(["\n", "\r\n"]))
    receipt = house.deliver(contract, text)
    assert receipt["delivered"] == len(good) + len(bad)
    if good:
        assert house.clean(contract, "exchange_line, note", "exchange_line") == good
    assert sorted(row["line"] for row in house.quarantine(contract, receipt)) == bad
