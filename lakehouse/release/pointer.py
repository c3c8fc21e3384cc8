"""``latest.json``: the only thing in the bucket of marts that moves, and always by a conditional write."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, Notice, UnreadablePointer, latest_key
from lakehouse.storage.lake import Conflict, ObjectNotFound


class Withdrawal(BaseModel):
    """Why the pointer went back: from which release, and who said so."""

    model_config = ConfigDict(frozen=True)

    release: str
    how: Literal["rolled_back", "yanked"]
    reason: str
    by: str
    at: datetime


class Pointer(BaseModel):
    """What ``latest.json`` says. ``release`` is null where none stands; ``number`` is the highest that was ever given
    in this major, so that no number is given twice; ``withdrew`` stands until the next release."""

    model_config = ConfigDict(frozen=True)

    mart: str
    major: int
    release: str | None
    path: str | None
    created_at: datetime | None
    number: int = 0
    withdrew: Withdrawal | None = None
    notice: Notice | None = None

    @property
    def highest(self) -> int:
        """Pointers of before say no number."""
        return max(self.number, number_of(self.release) if self.release else 0)


def number_of(release: str) -> int:
    return int(release.split("-")[0])


def read_pointer(exchange: Exchange, *, mart: str, major: int) -> tuple[Pointer | None, str | None]:
    """The pointer and the version that it is moved against; both ``None`` before the first release.

    Raises :class:`lakehouse.release.manifest.UnreadablePointer`.
    """
    key = latest_key(mart, major)
    while True:
        standing = exchange.lake.stat("marts", key)
        if standing is None:
            return None, None
        try:
            pointer = Pointer.model_validate_json(exchange.lake.read_bytes("marts", key))
        except ObjectNotFound:
            return None, None
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            why = f"{place}: {error.errors()[0]['msg']}" if place else error.errors()[0]["msg"]
            raise UnreadablePointer(mart, major, why) from None
        # It may have moved between the two; one that did not is what this version says.
        again = exchange.lake.stat("marts", key)
        if again is not None and again.version == standing.version:
            return pointer, standing.version


def move_pointer(exchange: Exchange, pointer: Pointer, *, expected: str | None) -> None:
    """Raises :class:`lakehouse.storage.lake.Conflict` where somebody else has moved it since it was read."""
    content = pointer.model_dump_json(indent=1, exclude_none=pointer.release is not None).encode()
    key = latest_key(pointer.mart, pointer.major)
    try:
        exchange.lake.write_if("marts", key, content, expected=expected)
    except Conflict:
        # After a broken connection a store may refuse the retry of a write that it did take.
        if exchange.lake.read_bytes("marts", key) != content:
            raise


def pointing_at(manifest: Manifest, *, highest: int, notice: Notice | None = None) -> Pointer:
    return Pointer(
        mart=manifest.mart,
        major=manifest.major,
        release=manifest.release,
        path=manifest.prefix,
        created_at=manifest.created_at,
        number=highest,
        notice=notice,
    )
