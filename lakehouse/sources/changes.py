"""Which records of an answer are new, where a source is asked for what changed since a moment."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lakehouse.sources.page import SourceError, Watermark
from lakehouse.sources.paging import at


class ChangesSince:
    """Sources differ on whether the moment asked for is included. We hold that it is, so that no record of the
    same moment is missed, and know those by their digests that were read before.

    The watermark: `since`, the newest time of change as the source writes it, and `seen`, the digests at it.
    """

    def __init__(self, *, value: str, watermark: Watermark | None) -> None:
        """`value` is the dotted path of a record's time of change."""
        self._value = value
        self._since: str | float | None = watermark["since"] if watermark else None
        self._seen: set[str] = set(watermark["seen"]) if watermark else set()
        self.asked_since = self._since

    @property
    def watermark(self) -> Watermark:
        return {"since": self._since, "seen": sorted(self._seen)}

    def take(self, records: Sequence[Any]) -> bool:
        """Whether any of the records is new; from here on they are not. Raises SourceError."""
        found = {_digest(record): at(record, self._value) for record in records}
        if not (fresh := found.keys() - self._seen):
            return False
        newest = max((found[digest] for digest in fresh), key=self._moment)
        if self._since is None or self._moment(newest) > self._moment(self._since):
            self._since, self._seen = newest, set()
        reached = self._moment(self._since)
        self._seen |= {digest for digest, value in found.items() if self._moment(value) == reached}
        return True

    def _moment(self, value: Any) -> float:
        if isinstance(value, int | float):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise SourceError(
                f"a record has {value!r} at {self._value!r} where its time of change was due: "
                "name the field in the contract's exchange.extract"
            ) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
