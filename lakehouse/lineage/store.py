"""OpenLineage events in the lake: bucket ``lineage``, ``events/<yyyy-mm-dd>/<run>.ndjson``, one object a run. Runs that
are parts of another may stand in that one's object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any

from openlineage.client.event_v2 import RunEvent
from openlineage.client.serde import Serde

from lakehouse.exchange import Exchange
from lakehouse.storage.lake import Conflict, ObjectNotFound

BUCKET = "lineage"
TRIES = 5
_RUN = re.compile(r"[0-9a-f-]{36}")


def keep(exchange: Exchange, events: Iterable[RunEvent]) -> None:
    """Appends each event to its run's object, under the day of the run's first one that is kept."""
    for event in events:
        keep_line(exchange, Serde.to_json(event))


def keep_line(exchange: Exchange, line: str) -> None:
    """The same for one event as JSON. An event that stands there already is not added again."""
    _append(exchange, [line])


def keep_together(exchange: Exchange, events: Iterable[RunEvent]) -> None:
    """All in the object of the first one's run: many small runs that are parts of it."""
    if lines := [Serde.to_json(event) for event in events]:
        _append(exchange, lines)


def _append(exchange: Exchange, lines: Sequence[str]) -> None:
    """To the object of the first line's run, those that stand there already left out."""
    said = json.loads(lines[0])
    run, day = str(said["run"]["runId"]), date.fromisoformat(str(said["eventTime"])[:10])
    if not _RUN.fullmatch(run):
        raise ValueError(f"{run!r} is no id of a run")
    key = f"events/{day}/{run}.ndjson"
    for _ in range(TRIES):
        standing = exchange.lake.stat(BUCKET, key)
        try:
            known = exchange.lake.read_bytes(BUCKET, key) if standing else b""
            standing_lines = set(known.splitlines())
            new = b"".join(line.encode() + b"\n" for line in lines if line.encode() not in standing_lines)
            if not new:
                return
            exchange.lake.write_if(BUCKET, key, known + new, expected=standing.version if standing else None)
        except (Conflict, ObjectNotFound):
            continue
        return
    raise Conflict(BUCKET, key, None)


def kept(exchange: Exchange, day: date) -> Iterator[dict[str, Any]]:
    """The events of a day, by run."""
    for entry in exchange.lake.list(BUCKET, f"events/{day}/"):
        for line in exchange.lake.read_bytes(BUCKET, entry.key).splitlines():
            yield json.loads(line)


def tell(
    exchange: Exchange,
    events: Callable[[], Iterable[RunEvent]],
    *,
    warn: Callable[[str], None],
    together: bool = False,
) -> None:
    """Keeps what ``events`` makes, ``together`` in one object. Data that was landed or released is none the worse for
    an event that could not be told: that is a warning."""
    try:
        (keep_together if together else keep)(exchange, events())
    except Exception as error:
        warn(f"lineage was not told: {type(error).__name__}: {error}")
