"""``latest.json``: the only thing in the bucket of marts that moves, and always by a conditional write."""

from __future__ import annotations

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, Notice, Pointer, latest_key, parse_pointer
from lakehouse.storage.lake import Conflict, ObjectNotFound


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
            pointer = parse_pointer(exchange.lake.read_bytes("marts", key), mart=mart, major=major)
        except ObjectNotFound:
            return None, None
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
