"""`exchange erase`: a person out of landing, raw, clean, quarantine, receipts, candidates and vault, with proof.

Released aggregates stand: taking a person out of a published sum and publishing it again would tell that
person's share by subtraction (see the decision on erasure).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.certificate import write_certificate
from lakehouse.erasure.fields import search_fields
from lakehouse.erasure.forget import forget, pseudonym_of
from lakehouse.erasure.places import Places
from lakehouse.erasure.search import LEAST_CHARACTERS, LEAST_DIGITS, Searched, search, telling
from lakehouse.exchange import Exchange
from lakehouse.landing.erased import erased_from, erasure_key, subject_digests, subject_text
from lakehouse.landing.intake import intake, workbench
from lakehouse.storage.index import erasures, forgotten_salts
from lakehouse.storage.workplace import sweep

Progress = Callable[[str], None]
RELEASED = (
    "Aggregates that were released before stand. To publish them again without this person would tell the "
    "person's share by subtraction. No later build reads a row of this person."
)
SEARCHED = {
    True: "the id and its pseudonym, as words, in every object of the lake: bytes, values, members of archives, names",
    False: f"the pseudonym, as a word, in every object of the lake. The id has fewer than {LEAST_DIGITS} digits or "
    f"{LEAST_CHARACTERS} characters and stands in many places by chance: it was looked for in the fields that hold "
    "such ids by the provider's contracts, of all that was delivered, quarantined and answered with a receipt",
}


class NoSubject(ValueError):
    """The dataset's contract names no column of a data subject."""


def erase(
    exchange: Exchange,
    contract: Contract,
    *,
    subject: str,
    reason: str,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Takes a person out of all that is kept of a dataset. Returns the signed certificate.

    What waits in the inbox is taken in first. May be killed at any point and run again with the same id: what
    was done stands, and a finished erasure finds nothing more. From the first moment on intake refuses rows of
    this person. The id itself is written nowhere.
    Raises :class:`NoSubject`.
    """
    subject = subject_text(subject)
    if contract.exchange.subject is None or not subject:
        raise NoSubject(f"{contract.key} has no data subject: its contract names no `subject` column")
    request = _request(exchange, contract, subject, reason)
    counts = Counter(request["counts"])
    # What a killed process left on this machine has rows of people in it.
    counts["folders of killed processes"] += len(sweep(exchange.settings.home_path))
    _note(exchange, request["erasure"], status="open", counts=dict(counts))
    progress("taking in what waits in the inbox")
    intake(exchange, contract)
    pseudonym = pseudonym_of(exchange, contract, subject)
    for found in _each_place(exchange, contract, subject, pseudonym, request["erasure"], progress):
        counts.update(found)
        _note(exchange, request["erasure"], status="open", counts=dict(counts))
    progress("searching every object of the lake")
    searched = _searched(exchange, contract, subject, pseudonym)
    left = searched.hits or searched.undecided
    progress("the vault")
    # Last, for without the salt nobody could say any more what stands for this person.
    counts["salts"] += forget(exchange, contract, pseudonym=pseudonym, erasure=request["erasure"])
    known = pseudonym_of(exchange, contract, subject) not in (None, subject)
    _note(exchange, request["erasure"], status="open" if left else "done", counts=dict(counts))
    facts = {
        "erasure": request["erasure"],
        "dataset": contract.key,
        "subject": request["subject"],
        "reason": request["reason"],
        "requested_at": request["requested_at"].isoformat(timespec="seconds"),
        "completed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "taken_out": dict(sorted(counts.items())),
        "forgotten": _forgotten(exchange, request["erasure"]),
        "searched": {
            "for": SEARCHED[telling(subject)],
            "objects": searched.objects,
            "bytes": searched.bytes,
            "still_in": searched.hits,
            "undecided": searched.undecided,
        },
        "proven_absent": not left and not known,
        "released": RELEASED,
    }
    return write_certificate(exchange, facts)


def preview(exchange: Exchange, contract: Contract, *, subject: str) -> dict[str, Any]:
    """Where the person is found now; nothing is changed. Raises :class:`NoSubject`."""
    if contract.exchange.subject is None:
        raise NoSubject(f"{contract.key} has no data subject: its contract names no `subject` column")
    subject = subject_text(subject)
    searched = _searched(exchange, contract, subject, pseudonym_of(exchange, contract, subject))
    return {
        "dataset": contract.key,
        "objects": searched.objects,
        "found_in": searched.hits,
        "undecided": searched.undecided,
    }


def _searched(exchange: Exchange, contract: Contract, subject: str, pseudonym: str | None) -> Searched:
    """Where the person stands. What is long is looked for in every byte; an id that is not, where it has a field."""
    words = dict.fromkeys(word for word in (subject, pseudonym) if word and telling(word))
    found = search(exchange, *words)
    if not telling(subject):
        search_fields(exchange, contract, subject, found)
    found.hits = list(dict.fromkeys(found.hits))
    return found


def _forgotten(exchange: Exchange, erasure: str) -> list[list[Any]]:
    """The vault's entries (column and number) that this erasure deleted; a lost index learns of them by it."""
    asked = sa.select(forgotten_salts.c.column_name, forgotten_salts.c.entry)
    rows = exchange.index.rows(asked.where(forgotten_salts.c.erasure == erasure).order_by(forgotten_salts.c.entry))
    return [list(row.values()) for row in rows]


def _request(exchange: Exchange, contract: Contract, subject: str, reason: str) -> dict[str, Any]:
    """The erasure on record: an earlier one of the same person, or a new one."""
    [digest] = subject_digests([subject], erasure_key(exchange, contract), contract)
    same = (
        erasures.c.provider == contract.provider,
        erasures.c.dataset == contract.dataset,
        erasures.c.subject == digest,
    )
    with exchange.index.begin() as connection:
        found = connection.execute(sa.select(erasures).where(*same)).mappings().first()
        if found is not None:
            return dict(found)
        now = datetime.now(UTC)
        values = {
            "erasure": f"{now:%Y%m%dT%H%M%SZ}-{digest[:8]}",
            "provider": contract.provider,
            "dataset": contract.dataset,
            "subject": digest,
            "reason": reason,
            "requested_at": now,
            "status": "open",
            "counts": {},
        }
        connection.execute(sa.insert(erasures).values(**values))
        return values


def _note(exchange: Exchange, erasure: str, *, status: str, counts: dict[str, int]) -> None:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(erasures).where(erasures.c.erasure == erasure).values(status=status, counts=counts)
        )


def _each_place(
    exchange: Exchange, contract: Contract, subject: str, pseudonym: str | None, erasure: str, progress: Progress
) -> Iterable[Counter[str]]:
    """What was taken out, piece by piece, so that what a killed run did is on record."""
    erased = erased_from(exchange, contract)
    assert erased is not None, "the request is on record"
    with workbench(exchange, contract) as (connection, folder):
        places = Places(
            erasure=erasure,
            exchange=exchange,
            contract=contract,
            subject=subject,
            pseudonym=pseudonym,
            erased=erased,
            connection=connection,
            folder=folder,
        )
        progress("raw, quarantine, clean and receipts")
        yield from places.deliveries()
        yield places.left_behind()
        progress("candidates")
        yield places.candidates()
