"""Which column dates the rows of a sample, and which ones tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice

import duckdb

from lakehouse.landing.guess_meaning import LONG_TEXT, is_row_number, names_a_thing, words
from lakehouse.landing.guess_types import Guess

# Times of keeping books: they date the file, not what happened.
BOOKS = {"created", "modified", "inserted", "streamtime", "received", "exported", "oprettet", "opdateret"}
TRIED = 60
MOST = 4
# A key that fits but for so few rows is a key: those are repeated, or corrected.
ENOUGH = 0.98


@dataclass(frozen=True, kw_only=True)
class Key:
    """``columns`` in their order. ``why`` says how far they tell the sample's rows apart."""

    columns: tuple[Guess, ...]
    why: str


def time_column(guesses: list[Guess]) -> Guess | None:
    """The column that dates the rows, none of which may be without; ``None`` for a register."""
    times = [g for g in guesses if g.time and g.nulls == 0 and (g.distinct > 1 or g.found.of_document)]
    times = times or [g for g in guesses if g.time and g.nulls == 0]
    return max(
        times,
        key=lambda g: (
            g.found.of_document,
            not words(g.found.source) & BOOKS,
            g.parse.zone in (None, "UTC"),
            g.logical == "timestamp",
            g.distinct,
        ),
        default=None,
    )


def guess_key(*, connection: duckdb.DuckDBPyConnection, guesses: list[Guess], time: Guess | None) -> Key:
    """The smallest combination of columns that tells rows apart.

    Names that say so go first, then text, then whole numbers. The key of an event holds its time, so that a
    correction meets the row it corrects in one partition.
    """
    rows = connection.execute("SELECT count(*) FROM sample_text").fetchall()[0][0]
    # What is the same in every row tells none apart, and would stand for what does.
    filled = [
        g
        for g in guesses
        if g.nulls == 0 and not g.parse.geometry and (g is time or (not g.time and (g.distinct > 1 or rows == 1)))
    ]
    fixed = [time] if time else []
    free = [g for g in filled if g is not time]
    # An id that is text is not the number of a row.
    numbers = [g for g in free if g.logical == "integer" and is_row_number(g.found.source)]
    named = [g for g in free if names_a_thing(g.found.source) and g not in numbers]
    texts = [g for g in free if g.logical == "string" and g.length <= LONG_TEXT and g not in named]
    counts = [g for g in free if g.logical == "integer" and g not in named]
    # An event is of something: time alone is its key only where nothing has a name.
    least = 1 if (named or not time) else 0
    nearest: tuple[float, list[Guess]] = (0.0, [])
    for pool in (named, [*named, *texts], [*named, *texts, *counts]):
        for chosen in islice(_sets(pool, least), TRIED):
            columns = [*chosen, *fixed]
            share = _distinct(connection, columns) / rows
            if share == 1:
                return Key(columns=tuple(columns), why=f"together they tell all {rows:,} rows of the sample apart")
            if share > nearest[0]:
                nearest = share, columns
        if nearest[0] >= ENOUGH:
            break
    share, columns = nearest
    if not columns:
        columns = filled or [min(guesses, key=lambda g: g.nulls)]
        share = _distinct(connection, columns) / rows
    why = f"together they tell {share:.1%} of the {rows:,} rows of the sample apart, and nothing better was found"
    return Key(columns=tuple(columns), why=why)


def _sets(pool: list[Guess], least: int) -> list[tuple[Guess, ...]]:
    ranked = sorted(pool, key=lambda g: (not names_a_thing(g.found.source), is_row_number(g.found.source)))[:8]
    return [chosen for size in range(least, MOST) for chosen in combinations(ranked, size) if chosen or not least]


def _distinct(connection: duckdb.DuckDBPyConnection, columns: list[Guess]) -> int:
    if not columns:
        return 1
    places = ", ".join(guess.place for guess in columns)
    counted = connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT {places} FROM sample_text)").fetchall()
    return int(counted[0][0])
