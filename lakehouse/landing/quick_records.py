"""Records of ndjson that are written alike, one as the other: a reader of csv splits them at their commas.

It takes a third of what a reader of JSON does. What stands before each value tells that the line is the record that it
seems to be; each value's text is held to what JSON takes for one. Any other line is doubtful.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from lakehouse.landing.pieces import Marks, Piece, wrong_fields
from lakehouse.landing.quick_columns import Coded, Planned, Way, is_decimal, reader_type

SCALAR = r'"[^"\\,\x00-\x1f]*"|-?[0-9][0-9.eE+-]*|true|false|null'
FIELD = re.compile(rf'(\s*"([^"\\,\x00-\x1f]+)"\s*:\s*)({SCALAR})')
# As JSON has them.
QUOTED = r'^"[^"\\\x00-\x1f]*"$'
WHOLE = r"^(?:[1-9][0-9]{0,14}|-[1-9][0-9]{0,14}|0)$"
NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
WORD = "^(?:true|false)$"
# A number of no more digits is the same when it was a binary one in between, as it is the exact way.
SURE_BYTES = 16
# A column with a larger share of numbers that are not written as its first is read a second time.
FEW_ODD = 0.03


@dataclass(frozen=True, kw_only=True)
class Field:
    """What stands before a value, the comma excepted, and behind the last; whether the value stood in quotes."""

    name: str
    before: str
    behind: str
    quoted: bool


def fields_of(line: bytes) -> list[Field] | None:
    """The fields of a record that is nothing but texts and numbers without commas, or ``None``."""
    try:
        text = line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        return None
    opening = re.match(r"\s*\{", text)
    if opening is None:
        return None
    fields: list[Field] = []
    place = opening.end()
    while True:
        match = FIELD.match(text, place)
        if match is None:
            return None
        before = text[:place] + match[1] if not fields else match[1]
        place = match.end()
        closing = re.fullmatch(r"\s*\}", text[place:])
        behind = closing[0] if closing else ""
        fields.append(Field(name=match[2], before=before, behind=behind, quoted=match[3].startswith('"')))
        if closing:
            names = {field.name.lower() for field in fields}
            return fields if len(names) == len(fields) > 1 else None
        if text[place : place + 1] != ",":
            return None
        place += 1


@dataclass(frozen=True, kw_only=True)
class Records:
    """What was read of a piece: its columns by place, and which lines are doubtful. ``raw``: fields as they stand."""

    piece: Piece
    columns: dict[str, pl.Series | Coded]
    doubtful: Marks
    texts: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class RecordReader:
    """Reads pieces of records with these ``fields``, in which columns have their ``planned`` places.

    ``few``: fields with few distinct values, each of which is looked at once.
    """

    fields: list[Field]
    planned: dict[str, Planned]
    few: frozenset[str] = frozenset()

    def read(self, piece: Piece) -> Records | None:
        """``None`` where some lines are none to the reader."""
        raw = self.split(piece)
        if raw.height != piece.lines:
            return None
        doubtful = np.zeros(raw.height, bool)
        columns: dict[str, pl.Series | Coded] = {}
        for field in self.fields:
            values, doubts = self._column(field, raw[field.name])
            doubtful |= doubts
            if field.name in self.planned:
                columns[field.name] = values
        # A line whose last field is there has no fewer than the others.
        short = raw[self.fields[-1].name].is_null().to_numpy()
        doubtful |= wrong_fields(piece, b",", len(self.fields) - 1, short)
        return Records(piece=piece, columns=columns, doubtful=doubtful, texts=raw)

    def split(self, piece: Piece) -> pl.DataFrame:
        """The fields of lines, as they stand."""
        types = {
            field.name: pl.Categorical(pl.Categories.random()) if field.name in self.few else pl.String()
            for field in self.fields
        }
        return pl.scan_csv(
            piece.text,
            has_header=False,
            separator=",",
            quote_char=None,
            schema=types,
            ignore_errors=True,
            missing_columns="insert",
            extra_columns="ignore",
        ).collect()

    def _column(self, field: Field, raw: pl.Series) -> tuple[pl.Series | Coded, Marks]:
        planned = self.planned.get(field.name)
        numbers = planned is not None and planned.way is Way.READER
        if raw.dtype == pl.String:
            return _numbers(field, planned, raw) if planned and numbers else _texts(field, raw)
        coded = Coded.of(raw)
        each, doubts = _numbers(field, planned, coded.each) if planned and numbers else _texts(field, coded.each)
        # A field that is not there is doubtful as well.
        marks = np.append(doubts, True)
        doubtful = marks[coded.places] if doubts.any() or raw.null_count() else np.zeros(len(raw), bool)
        return Coded(each=each, places=coded.places), doubtful

    def texts(self, read: Records) -> pl.DataFrame:
        """The columns as texts, or nothing where they are doubtful or ``null``."""
        return pl.DataFrame(
            {
                field.name: _texts(field, read.texts[field.name].cast(pl.String), numbers=True)[0]
                for field in self.fields
                if field.name in self.planned
            }
        )


def _numbers(field: Field, planned: Planned, raw: pl.Series) -> tuple[pl.Series, Marks]:
    """A column of numbers that are all in quotes, or none of them, as in the first record; nothing where there is
    ``null``."""
    quote = '"' if field.quoted else ""
    before, behind = field.before + quote, quote + field.behind
    given, text = pl.col("raw"), pl.col("text")
    sure = text.cast(reader_type(planned), strict=False).is_not_null() & given.str.starts_with(before)
    if behind:
        sure &= given.str.ends_with(behind)
    if not field.quoted:
        sure &= text.str.contains(NUMBER) & (text.str.len_bytes() <= SURE_BYTES)
    elif is_decimal(planned):
        sure &= ~text.str.contains("[eE]")
    found = (
        pl.DataFrame({"raw": raw})
        .with_columns(text=given.str.strip_prefix(before).str.strip_suffix(behind))
        .select(text.cast(reader_type(planned), strict=False).alias("values"), bad=~sure.fill_null(False))
    )
    values, bad = found["values"], found["bad"].to_numpy()
    if bad.sum() > FEW_ODD * len(raw):
        texts, doubts = _texts(field, raw, numbers=True)
        exponents = texts.str.contains("[eE]").fill_null(False).to_numpy()
        return texts.cast(reader_type(planned), strict=False), doubts | exponents
    return values, bad


def _texts(field: Field, raw: pl.Series, *, numbers: bool = False) -> tuple[pl.Series, Marks]:
    """The text of each value, nothing where it is ``null``; and which are doubtful."""
    name = raw.name
    stripped = pl.col("text").str.strip_prefix(field.before).str.strip_suffix(field.behind)
    there = pl.col("raw").str.starts_with(field.before) & pl.col("raw").str.ends_with(field.behind)
    plain = pl.col("text").str.contains(WHOLE) | pl.col("text").str.contains(WORD)
    if numbers:
        plain |= pl.col("text").str.contains(NUMBER) & (pl.col("text").str.len_bytes() <= SURE_BYTES)
    quoted = pl.col("text").str.contains(QUOTED)
    found = (
        pl.DataFrame({"raw": raw, "text": raw})
        .with_columns(stripped, there=there)
        .select(
            pl.when(quoted).then(pl.col("text").str.slice(1).str.head(-1)).when(plain).then("text").alias("text"),
            bad=~(pl.col("there") & (quoted | plain | (pl.col("text") == "null"))).fill_null(False),
        )
    )
    return found["text"].alias(name), found["bad"].to_numpy()
