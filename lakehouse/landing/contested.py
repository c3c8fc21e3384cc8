"""Which plain rows share their key with another row: of the delivery, or of those that stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import permutations
from operator import and_

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_rows import PlainFrame, PlainRows
from lakehouse.storage.sql import identifier

# Orders of the key's columns that a file is held to; of longer keys only two.
LONGEST_PERMUTED = 3
# Hashes held at a time, of 8 bytes; more are looked at in several passes.
HASHES = 16_000_000


def own_contested(contract: Contract, frames: Sequence[PlainFrame]) -> Places:
    """The lines, sorted, of plain rows that share their key with another of them."""
    keys = [column.name for column in contract.primary_key]
    found = _in_ascending(frames, keys)
    return _of_equal_hashes(frames, keys) if found is None else found


def contested_lines(
    connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows, own: Places, standing: str | None
) -> Places:
    """The lines, sorted, of all plain rows that share their key with a row of the delivery, or of ``standing``, SQL of
    the rows that stand. ``own``: what :func:`own_contested` found."""
    keys = [column.name for column in contract.primary_key]
    lines = [own]
    lines += [
        _known(connection, f"SELECT {', '.join(identifier(key) for key in keys)} FROM ({rows})", plain, keys)
        for rows in ("FROM exact_typed", standing)
        if rows is not None
    ]
    return np.unique(np.concatenate(lines))


def _known(connection: duckdb.DuckDBPyConnection, rows: str, plain: PlainRows, keys: list[str]) -> Places:
    """Lines with a key that is among those of ``rows``, SQL."""
    found: list[Places] = []
    types = plain.schema
    for batch in connection.execute(rows).to_arrow_reader(HASHES):
        known = pl.DataFrame(batch).cast({key: types[key] for key in keys})
        if known.is_empty():
            continue
        # By hashes first: a join by several columns costs three times as much.
        hashes = known.select(keys).hash_rows().implode()
        # Files mostly go by time, and known rows by day. What is no number has no place among floats.
        ends = {key: (known[key].min(), known[key].max()) for key in keys if not types[key].is_float()}
        for held in plain.frames:
            if not all(low is None or held.may_hold(key, low, high) for key, (low, high) in ends.items()):
                continue
            frame = held.frame(keys)
            likely = frame.filter(frame.select(keys).hash_rows().is_in(hashes))
            found.append(likely.join(known, on=keys, how="semi")["exchange_line"].to_numpy())
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _in_ascending(frames: Sequence[PlainFrame], keys: list[str]) -> Places | None:
    """Lines with a key equal to a neighbour's, where keys never fall from line to line in some order of their columns:
    then no other keys are equal. ``None`` where they fall in every order."""
    orders = list(permutations(keys)) if len(keys) <= LONGEST_PERMUTED else [tuple(keys), tuple(reversed(keys))]
    found: list[Places] = []
    for columns, lines in _with_first_behind(frames, keys):
        equal = {key: one[1:] == one[:-1] for key, one in columns.items()}
        below = {key: one[1:] < one[:-1] for key, one in columns.items()}
        orders = [order for order in orders if not _falls(equal, below, order)]
        if not orders:
            return None
        same = np.flatnonzero(reduce(and_, equal.values()).fill_null(False).to_numpy())
        found.append(lines(np.union1d(same, same + 1)))
    # The last line of a frame may be among both's.
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def _with_first_behind(
    frames: Sequence[PlainFrame], keys: list[str]
) -> Iterator[tuple[dict[str, pl.Series], Callable[[Places], Places]]]:
    """Keys of each frame, and then those of its last row with the first one of the next frame: what compares as their
    values do. And what tells the lines of places among them."""
    last: tuple[dict[str, pl.Series], Places] | None = None
    for frame in (one.loaded(keys) for one in frames):
        columns = {key: frame.column(key) for key in keys}
        if last is not None:
            before, line = last
            pair = {key: pl.concat([before[key], coding.values(held[:1])]) for key, (held, coding) in columns.items()}
            yield pair, np.append(line, frame.lines_at(np.array([0]))).__getitem__
        yield {key: coding.ordered(held) for key, (held, coding) in columns.items()}, frame.lines_at
        end = {key: coding.values(held[-1:]) for key, (held, coding) in columns.items()}
        last = end, frame.lines_at(np.array([-1]))


def _falls(equal: Mapping[str, pl.Series], below: Mapping[str, pl.Series], order: tuple[str, ...]) -> bool:
    """Whether a row's key is below the one before it, compared column by column."""
    *before, last = order
    falls = below[last]
    for key in reversed(before):
        falls = below[key] | (equal[key] & falls)
    return bool(falls.any())


def _of_equal_hashes(frames: Sequence[PlainFrame], keys: list[str]) -> Places:
    """Lines whose keys have a hash that another key has too: all that are equal, and hardly any besides."""
    passes = sum(frame.rows for frame in frames) // HASHES + 1
    found: list[Places] = []
    for number in range(passes):
        lines, hashes = [], []
        for frame in (one.frame(keys) for one in frames):
            hashed = frame.select(keys).hash_rows()
            here = hashed % passes == number
            lines.append(frame["exchange_line"].filter(here) if passes > 1 else frame["exchange_line"])
            hashes.append(hashed.filter(here) if passes > 1 else hashed)
        all_hashes = pl.concat(hashes)
        ordered = np.sort(all_hashes.to_numpy())
        twice = pl.Series(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
        found.append(pl.concat(lines).filter(all_hashes.is_in(twice.implode())).to_numpy())
    return np.sort(np.concatenate(found))
