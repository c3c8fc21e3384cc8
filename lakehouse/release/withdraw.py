"""Taking a release back: the pointer moves to an earlier one, or the release disappears from the doors.

The pointer moves first and says why it moved. All else follows from it, so that whoever comes next, a build or a
promotion, finishes what a killed command left.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.listing import READABLE, release_row
from lakehouse.release.manifest import File, Manifest, Pointer, Withdrawal, latest_key, number_of, read_manifest
from lakehouse.release.pointer import move_pointer, pointing_at, read_pointer
from lakehouse.release.record import AWAITED, record_release
from lakehouse.release.standing import note, read_standing
from lakehouse.storage.index import candidates, releases
from lakehouse.storage.lake import Conflict, ObjectNotFound

WITHDRAWN = "withdrawn"
AT_ONCE = 8
ATTEMPTS = 10


class PointerLost(RuntimeError):
    """Releases were published, and nothing says which is the newest: what followed would begin at the first again."""


class NotWithdrawable(RuntimeError):
    """A release that cannot be gone back to; the message says why."""


def rollback(exchange: Exchange, *, mart: str, release: str, by: str, reason: str) -> dict[str, Any]:
    """Moves the pointer to ``release`` (a name or a number), and says so beside those that it leaves. May be killed
    and run again. The releases that it leaves stay readable by their names.

    Returns ``{mart, major, release, left}``. Raises :class:`NotWithdrawable`,
    :class:`lakehouse.release.listing.NoSuchRelease` and :class:`lakehouse.storage.lake.Conflict`.
    """
    row = release_row(exchange, mart, release)
    if row["status"] not in READABLE:
        raise NotWithdrawable(f"{mart}@{row['release']} is {row['status']}: there is nothing to go back to")
    manifest = read_manifest(exchange, mart=mart, major=row["major"], release=row["release"])
    left = follow_pointer(exchange, mart=mart, major=manifest.major)

    def back(pointer: Pointer | None) -> Pointer | None:
        if pointer is None:
            # It was lost.
            return pointing_at(manifest, highest=_highest(exchange, manifest))
        return _back_to(manifest, pointer, by=by, reason=reason)

    moved = _move(exchange, manifest, back)
    standing = read_standing(exchange, mart=mart, major=manifest.major, release=manifest.release)
    if standing.status not in READABLE:
        # It was yanked, or retention took it, just now: whichever of the two comes second sees the other.
        _undo(exchange, moved, left)
        raise NotWithdrawable(f"{mart}@{row['release']} is {standing.status}: there is nothing to go back to")
    note(exchange, mart=mart, major=manifest.major, release=manifest.release, what="restored", by=by, reason=reason)
    follow_pointer(exchange, mart=mart, major=manifest.major)
    before = left.release if left and left.release != manifest.release else None
    return {"mart": mart, "major": manifest.major, "release": manifest.release, "left": before}


def _highest(exchange: Exchange, manifest: Manifest) -> int:
    """The highest number of the releases that the mart ever had in this major."""
    query = sa.select(releases.c.release).where(*_of(manifest.mart, manifest.major))
    return max(number_of(row["release"]) for row in exchange.index.rows(query))


def _move(exchange: Exchange, manifest: Manifest, moved: Callable[[Pointer | None], Pointer | None]) -> Pointer | None:
    """Moves the pointer to what ``moved`` makes of it, however often others move it meanwhile; ``None`` leaves it.
    Returns what was written."""
    for _ in range(ATTEMPTS):
        pointer, version = read_pointer(exchange, mart=manifest.mart, major=manifest.major)
        wanted = moved(pointer)
        if wanted is None:
            return None
        with suppress(Conflict):
            move_pointer(exchange, wanted, expected=version)
            return wanted
    raise Conflict("marts", latest_key(manifest.mart, manifest.major), None)


def _undo(exchange: Exchange, moved: Pointer | None, left: Pointer | None) -> None:
    """Unless somebody has moved the pointer since."""
    if moved is not None and left is not None:
        pointer, version = read_pointer(exchange, mart=moved.mart, major=moved.major)
        if pointer == moved:
            move_pointer(exchange, left, expected=version)


def _back_to(manifest: Manifest, pointer: Pointer, *, by: str, reason: str) -> Pointer | None:
    """Going forward again, to one that was left, lifts what was said of it when it was the newest of all."""
    if pointer.release == manifest.release:
        return None
    moved = pointing_at(manifest, highest=pointer.highest, notice=pointer.notice)
    if pointer.release is not None and number_of(manifest.release) < number_of(pointer.release):
        withdrew: Withdrawal | None = Withdrawal(
            release=pointer.release, how="rolled_back", reason=reason, by=by, at=datetime.now(UTC)
        )
    else:
        withdrew = None if number_of(manifest.release) == pointer.highest else pointer.withdrew
    return moved.model_copy(update={"withdrew": withdrew})


def yank(exchange: Exchange, *, mart: str, release: str, by: str, reason: str) -> dict[str, Any]:
    """Takes a release that turned out wrong out of every door: its files go where consumers do not come, its
    manifest, signature and the reason stay. Where it is the newest, the pointer moves to the newest good one before
    it, or to none. May be killed and run again.

    Returns ``{mart, major, release, newest, files, also_in}``: ``also_in`` are releases that hold files which this
    one brought. Raises :class:`lakehouse.release.listing.NoSuchRelease` and
    :class:`lakehouse.storage.lake.Conflict`.
    """
    row = release_row(exchange, mart, release)
    manifest = read_manifest(exchange, mart=mart, major=row["major"], release=row["release"])
    follow_pointer(exchange, mart=mart, major=manifest.major)

    def before(pointer: Pointer | None) -> Pointer | None:
        if pointer is None or pointer.release != manifest.release:
            return None
        withdrew = Withdrawal(release=manifest.release, how="yanked", reason=reason, by=by, at=datetime.now(UTC))
        return _before(exchange, manifest, pointer, withdrew)

    _move(exchange, manifest, before)
    note(exchange, mart=mart, major=manifest.major, release=manifest.release, what="yanked", by=by, reason=reason)
    # Who went back to it just before it was noted has moved the pointer there.
    _move(exchange, manifest, before)
    finish_yank(exchange, manifest)
    pointer = follow_pointer(exchange, mart=mart, major=manifest.major)
    return {
        "mart": mart,
        "major": manifest.major,
        "release": manifest.release,
        "newest": pointer.release if pointer else None,
        "files": len(manifest.files),
        "also_in": _also_in(exchange, manifest),
    }


def _before(exchange: Exchange, manifest: Manifest, pointer: Pointer, withdrew: Withdrawal) -> Pointer:
    """The pointer at the newest good release below this one, or at none."""
    good = exchange.index.row(
        sa.select(releases.c.release)
        .where(*_of(manifest.mart, manifest.major), releases.c.status == "released")
        .where(releases.c.release < manifest.release)
        .order_by(releases.c.release.desc())
        .limit(1)
    )
    if good is None:
        gone = {"release": None, "path": None, "created_at": None, "number": pointer.highest, "withdrew": withdrew}
        return pointer.model_copy(update=gone)
    before = read_manifest(exchange, mart=manifest.mart, major=manifest.major, release=good["release"])
    moved = pointing_at(before, highest=pointer.highest, notice=pointer.notice)
    return moved.model_copy(update={"withdrew": withdrew})


def follow_pointer(exchange: Exchange, *, mart: str, major: int) -> Pointer | None:
    """Brings the index, and what stands beside the releases, in line with the pointer: whoever moved it may have
    died before that. Returns the pointer."""
    pointer, _ = read_pointer(exchange, mart=mart, major=major)
    if pointer is None:
        return None
    _follow_newest(exchange, pointer)
    withdrew = pointer.withdrew
    if withdrew is None:
        return pointer
    if withdrew.how == "rolled_back":
        _leave(exchange, pointer, withdrew)
    else:
        known = _row(exchange, mart, major, withdrew.release)
        if known is None or known["status"] != "yanked":
            manifest = read_manifest(exchange, mart=mart, major=major, release=withdrew.release)
            note(
                exchange, mart=mart, major=major, release=withdrew.release, what="yanked", by=withdrew.by,
                reason=withdrew.reason,
            )  # fmt: skip
            finish_yank(exchange, manifest)
    _supersede(exchange, pointer, withdrew)
    return pointer


def go_on_from_pointer(exchange: Exchange, *, mart: str, major: int) -> None:
    """The same, before what comes after the newest release is made. Raises :class:`PointerLost`."""
    pointer = follow_pointer(exchange, mart=mart, major=major)
    if pointer is None and exchange.index.row(sa.select(releases.c.release).where(*_of(mart, major)).limit(1)):
        raise PointerLost(
            f"marts/{latest_key(mart, major)} is not there, though {mart} has releases: "
            f"`exchange rollback {mart} RELEASE` makes it again"
        )


def _supersede(exchange: Exchange, pointer: Pointer, withdrew: Withdrawal) -> None:
    """Candidates that were built on what was taken back."""
    built = (
        *(candidates.c.mart == pointer.mart, candidates.c.major == pointer.major),
        *(candidates.c.status.in_(AWAITED), candidates.c.created_at < withdrew.at),
    )
    if exchange.index.row(sa.select(candidates.c.candidate).where(*built).limit(1)) is not None:
        with exchange.index.begin() as connection:
            reason = f"built on {withdrew.release}, which was taken back"
            connection.execute(sa.update(candidates).where(*built).values(status="superseded", reason=reason))


def _follow_newest(exchange: Exchange, pointer: Pointer) -> None:
    """Lists the release that the pointer names as the newest, if the index does not."""
    if pointer.release is None:
        newest = exchange.index.row(
            sa.select(releases.c.release).where(*_of(pointer.mart, pointer.major), releases.c.latest)
        )
        if newest is None:
            return
    else:
        known = _row(exchange, pointer.mart, pointer.major, pointer.release)
        if known is not None and known["latest"] and known["status"] == "released":
            return
        if known is None:
            manifest = read_manifest(exchange, mart=pointer.mart, major=pointer.major, release=pointer.release)
            with exchange.index.begin() as connection:
                record_release(connection, manifest)
            return
        if known["status"] == "rolled_back":
            note(
                exchange, mart=pointer.mart, major=pointer.major, release=pointer.release, what="restored",
                by="the exchange", reason="the pointer names it again",
            )  # fmt: skip
    with exchange.index.begin() as connection:
        connection.execute(sa.update(releases).where(*_of(pointer.mart, pointer.major)).values(latest=False))
        if pointer.release is not None:
            connection.execute(
                sa.update(releases)
                .where(*_of(pointer.mart, pointer.major), releases.c.release == pointer.release)
                .values(latest=True, status="released")
            )


def _leave(exchange: Exchange, pointer: Pointer, withdrew: Withdrawal) -> None:
    """Of the releases above the pointer, those that still count as released."""
    above = exchange.index.rows(
        sa.select(releases.c.release)
        .where(*_of(pointer.mart, pointer.major), releases.c.status == "released")
        .where(releases.c.release > (pointer.release or ""))
    )
    for row in above:
        note(
            exchange, mart=pointer.mart, major=pointer.major, release=row["release"], what="rolled_back",
            by=withdrew.by, reason=withdrew.reason,
        )  # fmt: skip
        set_status(exchange, pointer.mart, pointer.major, row["release"], "rolled_back")


def finish_yank(exchange: Exchange, manifest: Manifest) -> None:
    """Moves the files of a release that was yanked to where consumers do not come; none passes through here."""
    set_status(exchange, manifest.mart, manifest.major, manifest.release, "yanking")
    exchange.lake.ensure_bucket(WITHDRAWN)

    def move(file: File) -> None:
        key = f"{manifest.prefix}/{file.path}"
        # One that is gone was moved by a run that was killed, or by retention.
        with suppress(ObjectNotFound):
            exchange.lake.copy("marts", key, WITHDRAWN, key)
        exchange.lake.delete("marts", key)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(move, manifest.files))
    set_status(exchange, manifest.mart, manifest.major, manifest.release, "yanked")


def _also_in(exchange: Exchange, manifest: Manifest) -> list[str]:
    """Later releases that hold a file which this one brought: what is wrong in it is wrong there too."""
    brought = {*manifest.diff["partitions_added"], *manifest.diff["partitions_changed"]}
    bad = {(file.path, file.sha256) for file in manifest.files if file.partition in brought}
    rows = exchange.index.rows(
        sa.select(releases.c.release)
        .where(*_of(manifest.mart, manifest.major), releases.c.status.in_(READABLE))
        .where(releases.c.release > manifest.release)
        .order_by(releases.c.release)
    )
    later = (read_manifest(exchange, mart=manifest.mart, major=manifest.major, release=row["release"]) for row in rows)
    return [other.release for other in later if any((file.path, file.sha256) in bad for file in other.files)]


def withdrawn_partitions(exchange: Exchange, *, mart: str, major: int) -> set[str]:
    """Partitions that were public once, in releases that were rolled back from or yanked."""
    rows = exchange.index.rows(
        sa.select(releases.c.release)
        .where(*_of(mart, major))
        .where(releases.c.status.in_(["rolled_back", "yanking", "yanked"]))
    )
    found = (read_manifest(exchange, mart=mart, major=major, release=row["release"]) for row in rows)
    return {file.partition for manifest in found for file in manifest.files}


def set_status(exchange: Exchange, mart: str, major: int, release: str, status: str) -> None:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(releases)
            .where(*_of(mart, major), releases.c.release == release)
            .values(status=status, **({} if status in READABLE else {"latest": False}))
        )


def _of(mart: str, major: int) -> tuple[sa.ColumnElement[bool], ...]:
    return releases.c.mart == mart, releases.c.major == major


def _row(exchange: Exchange, mart: str, major: int, release: str) -> sa.RowMapping | None:
    return exchange.index.row(sa.select(releases).where(*_of(mart, major), releases.c.release == release))
