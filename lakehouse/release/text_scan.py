"""Whether a candidate's texts hold personal data, whatever its policy: the last look before it is published."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy.personal_data import by_modulus, find_addresses, find_in_texts, find_pseudonyms
from lakehouse.release.manifest import Candidate, File
from lakehouse.storage.sql import identifier, literal

if TYPE_CHECKING:
    from lakehouse.gates.report import GateResult

GATE = "Personal data in texts"
REPORT = "personal_data.json"
MASK = "***"
ADDRESS = "a street address"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One text of a column, what was found in it masked; ``rows`` have it. ``kind`` is what was found."""

    column: str
    kind: str
    text: str
    rows: int
    modulus_11: bool | None = None


def scan_texts(exchange: Exchange, mart: Mart, made: Candidate, files: Mapping[File, Path]) -> list[GateResult]:
    """Two results: e-mail addresses, telephone and CPR numbers block, of a private mart also what may stand for an id;
    street addresses warn. The texts stand masked in
    ``reports/<mart>/<candidate>/personal_data.json``, for reviewers, and nowhere else."""
    with exchange.duckdb() as connection:
        found = found_in_files(connection, mart, files.values())
    if found:
        content = json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False).encode()
        exchange.lake.write_bytes("reports", f"{made.prefix}/{REPORT}", content, content_type="application/json")
    addresses = [one for one in found if one.kind == ADDRESS]
    people = [one for one in found if one.kind != ADDRESS]
    expected = "no text of the candidate holds an e-mail address, a telephone number or a CPR number"
    if mart.private:
        expected += ", nor what may stand for a person's id"
    return [
        _result("no_personal_data_in_texts", "blocking", expected, people),
        _result("no_addresses_in_texts", "warning", "no text reads as a street with a house number", addresses),
    ]


def found_in_files(connection: duckdb.DuckDBPyConnection, mart: Mart, files: Iterable[Path]) -> list[Found]:
    """Of every text column of the files, but for contacts that are published as such: the texts with something in
    them. Work: the distinct texts."""
    listed = ", ".join(literal(str(path)) for path in sorted(files))
    if not listed:
        return []
    source = f"read_parquet([{listed}], hive_partitioning=false)"
    published = {column.name for column in mart.columns if column.published_contact}
    found: list[Found] = []
    for name, kind, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall():
        if kind != "VARCHAR" or name in published:
            continue
        column = identifier(name)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE scanned AS SELECT {column} AS text, count(*) AS rows FROM {source} "
            f"WHERE {column} IS NOT NULL GROUP BY {column}"
        )
        find_in_texts(connection, "SELECT text FROM scanned")
        find_addresses(connection, "SELECT text FROM scanned")
        if mart.private:
            # Of an open mart none is in the lineage: it may call its own things by digests.
            find_pseudonyms(connection, "SELECT text FROM scanned")
        for text, of_kind, held, rows, everything in connection.execute(
            "SELECT text, kind, list(DISTINCT found), any_value(rows), any_value(everything) FROM found_texts "
            "JOIN (SELECT text, list(DISTINCT found ORDER BY length(found) DESC, found) AS everything "
            "FROM found_texts GROUP BY text) USING (text) JOIN scanned USING (text) "
            "GROUP BY text, kind ORDER BY kind, text"
        ).fetchall():
            masked = text
            for one in everything:
                masked = masked.replace(one, MASK)
            score = by_modulus(held) > 0 if of_kind == "a CPR number" else None
            found.append(Found(column=name, kind=of_kind, text=masked, rows=rows, modulus_11=score))
    return found


def _result(name: str, severity: Literal["blocking", "warning"], expected: str, found: list[Found]) -> GateResult:
    from lakehouse.gates.report import GateResult

    kinds = sorted({one.kind for one in found})
    said = "none"
    if found:
        columns = ", ".join(sorted({one.column for one in found}))
        said = f"{' and '.join(kinds)} in {len(found):,} texts of {columns} ({sum(o.rows for o in found):,} rows)"
        numbers = [one for one in found if one.modulus_11 is not None]
        if numbers:
            said += f"; of {len(numbers):,} CPR numbers {sum(bool(o.modulus_11) for o in numbers):,} keep to modulus 11"
        said += f". Texts, masked: {REPORT} of this report"
    return GateResult.of_check(
        name, expected=expected, success=not found, found=f"{said}.", gate=GATE, severity=severity
    )
