"""k, l and t of a city's household marts beside pyCANON's: of each grain the smallest cells, and who is in them.

``python bench/privacy.py --households 36000 --days 2 --folder CITY`` makes a city whose marts have hours and days;
``python bench/anonymity.py CITY`` reads the records of who is in which cell. pyCANON takes a minute for what takes SQL
a second, so of hours it is given two.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb

from lakehouse.privacy.membership import BUCKET
from tests.anonymity_by_pycanon import Records, agree, ours, theirs

CELLS = {"hour": 2, "day": 20, "month": 20}


def main() -> None:
    audit = Path(sys.argv[1]) / "lake" / BUCKET
    failed = False
    for mart in sorted(path.name for path in audit.iterdir() if path.name.endswith("_hour")):
        for grain, cells in CELLS.items():
            members = _members(audit / mart, grain, cells)
            if members is None:
                print(f"{mart}, {grain}: no cell")
                continue
            began = time.perf_counter()
            found = ours(members)
            between = time.perf_counter()
            [answer] = theirs([members])
            spent = f"{between - began:.1f} s, pyCANON {time.perf_counter() - between:.1f} s"
            same = agree(found, answer)
            failed |= not same
            print(
                f"{mart}, {grain}: {len(members.frame):,} members of {members.frame['cell'].nunique()} cells, "
                f"{members.frame['contribution'].nunique():,} values: k {found.k}, l {found.l}, t {found.t:.3f}; "
                f"{'pyCANON agrees' if same else f'pyCANON says {answer}'}; {spent}",
                flush=True,
            )
    sys.exit(failed)


def _members(folder: Path, grain: str, cells: int) -> Records | None:
    """Of the candidate's smallest cells of a grain, whatever their partition."""
    with duckdb.connect() as connection:
        frame = connection.execute(
            """
            WITH smallest AS (
                SELECT filename AS file, cell FROM read_parquet($cells, filename=true)
                WHERE grain = $grain ORDER BY units, starts, name LIMIT $wanted
            )
            SELECT parse_path(file)[-2] || '/' || smallest.cell AS cell, contribution FROM smallest
            JOIN read_parquet($members, filename=true) AS m
            ON m.cell = smallest.cell AND parse_dirpath(m.filename) = parse_dirpath(file)
            """,
            {
                "cells": str(folder / "**" / "cells.parquet"),
                "members": str(folder / "**" / "members.parquet"),
                "grain": grain,
                "wanted": cells,
            },
        ).df()
    if frame.empty:
        return None
    return Records(frame.astype({"contribution": "int64"}), ["cell"], "contribution", True)


if __name__ == "__main__":
    main()
