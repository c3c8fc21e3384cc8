"""The typed rows of a delivery that need no second look, as columns in memory, or in files where they are many.

All others are in DuckDB's table ``exact_rows``. What is asked of both is asked of the views ``rows`` and ``typed``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import dataset

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.pieces import Places
from lakehouse.storage.sql import identifier

# With what DuckDB may have, and the pieces that are being read, this stays below 2 GB.
HELD_BYTES = 400 << 20
# DuckDB hands its filters on to Arrow, which knows none over the newer form of texts.
ARROW = pl.CompatLevel.oldest()


class PlainRows:
    """Frames of ``exchange_line`` and the contract's columns, in the order of the lines."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self.columns = [column.name for column in contract.columns]
        self.rows = 0
        self.folder = folder
        self._frames: list[pl.DataFrame | Path] = []
        self._held = 0
        self._written = 0

    def add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        self.rows += frame.height
        self._held += int(frame.estimated_size())
        self._frames.append(frame)
        if self._held > HELD_BYTES:
            self._frames = [one if isinstance(one, Path) else self._file(one) for one in self._frames]

    def drop_from(self, line: int) -> None:
        """Forgets the rows from this line on."""
        kept = [frame for frame in self if frame["exchange_line"][0] < line]
        self._frames, self.rows, self._held = [], 0, 0
        for frame in kept:
            self.add(frame)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for frame in self._frames:
            yield pl.read_ipc(frame) if isinstance(frame, Path) else frame

    def only(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Each frame's lines and these columns; of a file no others are read."""
        wanted = ["exchange_line", *columns]
        for frame in self._frames:
            yield pl.read_ipc(frame, columns=wanted) if isinstance(frame, Path) else frame.select(wanted)

    @property
    def schema(self) -> pl.Schema:
        return next(iter(self)).schema

    @property
    def is_spilt(self) -> bool:
        """Whether rows are in files."""
        return any(isinstance(one, Path) for one in self._frames)

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.LazyFrame]]:
        """Each frame, and the same to be read later."""
        for one, frame in zip(list(self._frames), self, strict=True):
            yield frame, pl.scan_ipc(one) if isinstance(one, Path) else frame.lazy()

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Makes ``rows`` and ``typed`` hold these rows too. To be called once they have changed."""
        if not self._frames:
            show_exact_rows(connection, self.columns)
            return
        connection.register("plain_rows", self._arrow())
        names = ", ".join(identifier(name) for name in self.columns)
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP VIEW rows AS
            SELECT exchange_line, {names}, exchange_bad, exchange_warned FROM exact_rows
            UNION ALL SELECT exchange_line, {names}, false, false FROM plain_rows;
            CREATE OR REPLACE TEMP VIEW typed AS
            FROM exact_typed UNION ALL SELECT exchange_line, {names} FROM plain_rows
            """
        )

    def take_out(self, connection: duckdb.DuckDBPyConnection, lines: Places) -> None:
        """Moves the rows of these lines, sorted, into ``exact_rows``."""
        if not len(lines) or not self._frames:
            return
        wanted = pl.Series(lines)
        taken: list[pl.DataFrame] = []
        for number, frame in enumerate(self):
            first, last = frame["exchange_line"][0], frame["exchange_line"][-1]
            here = wanted.filter((wanted >= first) & (wanted <= last))
            if here.is_empty():
                continue
            struck = np.zeros(frame.height, bool)
            at = frame["exchange_line"].search_sorted(here).to_numpy()
            struck[at[frame["exchange_line"].gather(at).to_numpy() == here.to_numpy()]] = True
            taken.append(frame.filter(pl.Series(struck)))
            kept, old = frame.filter(pl.Series(~struck)), self._frames[number]
            self._frames[number] = self._file(kept) if isinstance(old, Path) else kept
        self._frames = [one for one in self._frames if isinstance(one, Path) or not one.is_empty()]
        if not taken:
            return
        moved = pl.concat(taken)
        self.rows -= moved.height
        connection.register("taken_out", moved.to_arrow(compat_level=pl.CompatLevel.newest()))
        names = ", ".join(identifier(name) for name in self.columns)
        connection.execute(
            f"INSERT INTO exact_rows (exchange_line, {names}, exchange_bad, exchange_warned) "
            f"SELECT exchange_line, {names}, false, false FROM taken_out"
        )
        connection.unregister("taken_out")
        self.show(connection)

    def _file(self, frame: pl.DataFrame) -> Path:
        self._written += 1
        path = self.folder / f"plain-rows-{self._written}.arrow"
        frame.write_ipc(path, compression="lz4", compat_level=ARROW)
        self._held = 0
        return path

    def _arrow(self) -> pa.Table | dataset.Dataset:
        if self.is_spilt:
            self._frames = [one if isinstance(one, Path) else self._file(one) for one in self._frames]
            return dataset.dataset([str(path) for path in self._frames], format="ipc")
        return pa.concat_tables([one.to_arrow(compat_level=ARROW) for one in self])


def show_exact_rows(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
    """Makes ``rows`` and ``typed`` hold the rows of ``exact_rows`` alone."""
    names = ", ".join(identifier(name) for name in columns)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW exact_typed AS SELECT exchange_line, {names} FROM exact_rows WHERE NOT exchange_bad;
        CREATE OR REPLACE TEMP VIEW rows AS
        SELECT exchange_line, {names}, exchange_bad, exchange_warned FROM exact_rows;
        CREATE OR REPLACE TEMP VIEW typed AS FROM exact_typed
        """
    )
    # Those of the delivery before need not be held any longer.
    connection.unregister("plain_rows")
