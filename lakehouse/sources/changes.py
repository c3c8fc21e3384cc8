"""Which records of an answer are new, where a source is asked for what changed since a moment."""

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.sources.page import SourceError, Watermark
from lakehouse.sources.paging import at

# How far ahead a source's clock may be. What claims to have changed later than that moves no watermark.
_AHEAD = timedelta(minutes=15)
# A number that is a time since 1970 counts one of these parts of a second.
_PARTS = (1, 1_000, 1_000_000)
# Seconds from 2001 until 2286; and the year 9999, which many write for a time without end.
_TIMES = ((1_000_000_000, 10_000_000_000), (253_370_764_800, 253_402_387_200))


class ChangesSince:
    """Sources differ on whether the moment asked for is included. We hold that it is, so that no record of the
    same moment is missed, and know those by their digests that were read before.

    The watermark: `since`, the newest time of change as the source writes it, and `seen`, the digests at it. A time
    that is yet to come moves it not, or all that changes until then would be missed: `ahead` has such digests. A
    number that may be one counts as a time, unless the contract says that it is a `counter`.
    """

    def __init__(
        self, *, value: str, watermark: Watermark | None, ordered: bool = False, counter: bool = False
    ) -> None:
        """`value` is the dotted path of a record's time of change; `ordered`: each answer goes on in its order."""
        self._value, self.ordered, self._counter = value, ordered, counter
        self._limit = (datetime.now(UTC) + _AHEAD).timestamp()
        self._reached = self._first = float("-inf")
        self._since: str | float | None = watermark["since"] if watermark else None
        self._seen: set[str] = set(watermark["seen"]) if watermark else set()
        self._ahead: dict[str, float] = dict(watermark.get("ahead", {})) if watermark else {}
        self.asked_since = self._since

    @property
    def watermark(self) -> Watermark:
        ahead = {"ahead": self._ahead} if self._ahead else {}
        return {"since": self._since, "seen": sorted(self._seen), **ahead}

    def take(self, records: Sequence[Any]) -> bool:
        """Whether any of the records is new; from here on they are not. Raises SourceError."""
        if self.ordered:
            self._refuse_disorder(records)
        found = {record_digest(record): at(record, self._value) for record in records}
        moments = {digest: self._moment(value) for digest, value in found.items()}
        self._first = min(moments.values(), default=self._first)
        if not (fresh := found.keys() - self._seen - self._ahead.keys()):
            return False
        newest = max(
            (digest for digest in fresh if not self._is_ahead(found[digest])), key=moments.__getitem__, default=None
        )
        if newest is not None and (self._since is None or moments[newest] > self._moment(self._since)):
            self._since, self._seen = found[newest], set()
        reached = float("-inf") if self._since is None else self._moment(self._since)
        later = {digest: moment for digest, moment in (self._ahead | moments).items() if moment >= reached}
        self._seen |= {digest for digest, moment in later.items() if moment == reached}
        self._ahead = {digest: moment for digest, moment in later.items() if moment > reached}
        return True

    def stuck(self) -> str | None:
        """What is to be said of the records taken last where the next extract would begin with all of them again."""
        if self._since is not None and self._first < self._moment(self._since):
            return None
        since = "the beginning" if self._since is None else repr(self._since)
        return f", and the next extract would bring the same from {since} on"

    def _is_ahead(self, value: Any) -> bool:
        moment = self._moment(value)
        if not isinstance(value, int | float):
            return moment > self._limit
        parts = next((n for n in _PARTS for first, end in _TIMES if first * n <= value < end * n), None)
        return not self._counter and parts is not None and moment > self._limit * parts

    def _refuse_disorder(self, records: Sequence[Any]) -> None:
        """What comes after a newer one would be missed by the next extract, should this one end in between."""
        for record in records:
            value = at(record, self._value)
            moment = self._moment(value)
            if moment < self._reached:
                raise SourceError(
                    f"a record with {value!r} at {self._value!r} came after a newer one: the source does "
                    "not sort by it; ask for that order by `parameters`, or set `ordered: false`"
                )
            self._reached = moment

    def _moment(self, value: Any) -> float:
        if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise SourceError(
                f"a record has {value!r} at {self._value!r} where its time of change was due: "
                "name the field in the contract's exchange.extract"
            ) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def record_digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
