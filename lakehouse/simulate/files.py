"""Writing one delivery: csv of any dialect, plain or zipped, or Parquet; streamed, byte-identical."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import polars as pl
import pyarrow.parquet as pq

from lakehouse.simulate.city import Written

# Rows of a Parquet row group, at least; smaller frames wait for the next.
_ROW_GROUP = 1 << 20

# Deflate's first level: three times as fast as its sixth, for a quarter more bytes.
_ZIP_LEVEL = 1


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a source writes its csv files."""

    separator: str = ","
    quotes: Literal["necessary", "non_numeric"] = "necessary"
    null: str = ""
    line_end: str = "\n"
    decimal_comma: bool = False
    decimals: int | None = None
    header: bool = True
    encoding: str = "utf-8"

    def write(self, frame: pl.DataFrame, *, into: IO[bytes], header: bool) -> None:
        """The frame as csv in UTF-8."""
        frame.write_csv(
            into,
            include_header=header,
            separator=self.separator,
            quote_style=self.quotes,
            null_value=self.null,
            line_terminator=self.line_end,
            decimal_comma=self.decimal_comma,
            float_precision=self.decimals,
        )

    def as_text(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with every value as the text that this dialect writes for it."""
        written = io.BytesIO()
        self.write(frame, into=written, header=True)
        return pl.read_csv(
            written.getvalue(), infer_schema=False, separator=self.separator, null_values=self.null or None
        )


class DeliveryFile:
    """One file under ``<out>/<provider>/<dataset>/``; frames are appended and let go.

    The ending of ``name`` decides: ``.parquet``, ``.csv``, or ``.zip`` for a zip that holds one csv of the
    same name. A context manager; :meth:`written` tells what the file holds.
    """

    def __init__(self, *, out: Path, provider: str, dataset: str, name: str, dialect: Dialect | None = None) -> None:
        self.path = out / provider / dataset / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.dialect = None if self.path.suffix == ".parquet" else dialect or Dialect()
        self._provider, self._dataset = provider, dataset
        self._rows = 0
        self._quirks: Counter[str] = Counter()
        self._stack = ExitStack()
        self._handle: IO[bytes] | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._waiting: list[pl.DataFrame] = []

    def __enter__(self) -> Self:
        if self.path.suffix == ".zip":
            archive = self._stack.enter_context(
                zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, compresslevel=_ZIP_LEVEL)
            )
            # A member opened by its name is dated 1980, so that no clock gets into the bytes.
            member = archive.open(f"{self.path.stem}.csv", "w", force_zip64=True)
            self._handle = self._stack.enter_context(member)
        elif self.dialect:
            self._handle = self._stack.enter_context(self.path.open("wb"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._waiting and error is None:
                self._write_row_group()

    def write(self, frame: pl.DataFrame, *, quirk: str | None = None) -> None:
        """Appends the rows; as ``quirk`` says, if they are one."""
        if frame.is_empty():
            return
        if self.dialect:
            self._write_csv(frame, self.dialect)
        else:
            self._waiting.append(frame)
            if sum(waiting.height for waiting in self._waiting) >= _ROW_GROUP:
                self._write_row_group()
        self._rows += frame.height
        if quirk:
            self._quirks[quirk] += frame.height

    def note(self, quirk: str, count: int) -> None:
        """Counts a quirk that stands in rows already written, or in rows that are not there."""
        if count:
            self._quirks[quirk] += count

    def written(self) -> Written:
        return Written(
            provider=self._provider,
            dataset=self._dataset,
            path=self.path,
            rows=self._rows,
            quirks=dict(sorted(self._quirks.items())),
        )

    def _write_csv(self, frame: pl.DataFrame, dialect: Dialect) -> None:
        assert self._handle is not None, "a delivery is written inside its with block"
        header = dialect.header and self._rows == 0
        if dialect.encoding == "utf-8":
            dialect.write(frame, into=self._handle, header=header)
        else:
            written = io.BytesIO()
            dialect.write(frame, into=written, header=header)
            self._handle.write(written.getvalue().decode().encode(dialect.encoding))

    def _write_row_group(self) -> None:
        frame = pl.concat(self._waiting)
        self._waiting.clear()
        table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        if self._parquet is None:
            texts = [name for name, kind in frame.schema.items() if kind == pl.String]
            self._parquet = self._stack.enter_context(
                pq.ParquetWriter(self.path, table.schema, compression="zstd", use_dictionary=texts, store_schema=False)
            )
        self._parquet.write_table(table, row_group_size=table.num_rows)
