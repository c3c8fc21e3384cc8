"""What a candidate and a release say of themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lakehouse.exchange import Exchange
from lakehouse.storage.lake import ObjectNotFound, StorageError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(Strict):
    """One Parquet file; ``path`` is relative to its release, ``deliveries`` those whose rows it can hold,
    ``candidate`` the build that made it: where a later release carries it over it is an earlier one's."""

    path: str = Field(pattern=r"^(day|month|year)=[0-9-]+/[a-z0-9-]+\.parquet$")
    partition: str
    rows: int
    bytes: int
    sha256: str
    deliveries: tuple[str, ...]
    candidate: str | None = None


class Environment(Strict):
    """By what code and pins a candidate was built. ``commit`` is none outside git, ``dirty`` whether files differed
    from it, ``source`` a digest of all code, models and contracts as they were, ``requirements`` one of the pins;
    the others are versions as they were installed."""

    commit: str | None
    dirty: bool
    source: str
    requirements: str
    python: str
    duckdb: str
    pyarrow: str
    dbt: str


class Input(Strict):
    delivery: str
    dataset: str
    file: str
    sha256: str
    contract_version: str
    simulated: bool
    licence: str
    attribution: str


class Column(Strict):
    """``required``: it is never null. ``values``: the only ones it takes. Manifests of before say neither."""

    name: str
    type: str
    description: str
    unit: str | None
    required: bool | None = None
    values: tuple[str, ...] | None = None


class Approval(Strict):
    """Who let a candidate become a release, when and why; ``through`` is where it was answered."""

    by: str
    at: datetime
    reason: str
    through: Literal["command", "airflow", "portal"]


class Notice(Strict):
    """What readers of a mart are to know: its major ``major`` is followed by ``successor``, and stays published
    until ``until``; ``changes`` says what breaks for who goes over."""

    format: Literal["city-data-exchange/notice/1"] = "city-data-exchange/notice/1"
    kind: Literal["deprecated"] = "deprecated"
    mart: str
    major: int
    successor: int
    since: datetime
    until: datetime
    changes: tuple[str, ...]
    text: str


class BuildCheck(Strict):
    """A check made while the build's database stood: a dbt test, or the recount of the privacy thresholds."""

    name: str
    gate: Literal["dbt", "privacy"]
    severity: Literal["blocking", "warning"]
    success: bool
    found: str


class AreaGroup(Strict):
    """Areas that are published together for a period (that begins on the day ``period``), units of one ``kind``."""

    period: str
    kind: str
    code: str
    name: str
    areas: tuple[str, ...]


class Candidate(Strict):
    """What a build made.

    ``built``: every partition it built, with its file, or none where it came out empty. ``whole``: it is all of
    the mart, so nothing of ``base`` (the release before) is carried over. ``change``: how far the index's changes
    are taken in. ``areas``: who is merged with whom in the periods that it built. ``spent``: rho on each partition
    of a mart with noise. ``held``: partitions that were touched and not built, with the reason; those of them that
    are not final yet are ``waiting`` for a later build.
    """

    mart: str
    major: int
    candidate: str
    created_at: datetime
    base: str | None
    change: int
    code: str
    code_version: str
    reason: str
    whole: bool
    built: dict[str, File | None]
    held: dict[str, str]
    waiting: tuple[str, ...]
    inputs: tuple[Input, ...]
    checks: tuple[BuildCheck, ...]
    areas: tuple[AreaGroup, ...] = ()
    spent: dict[str, str] = {}
    environment: Environment | None = None
    seconds: float

    @property
    def prefix(self) -> str:
        return f"{self.mart}/{self.candidate}"


class Manifest(Strict):
    """A release: what it holds, of what it was made, and what its gate found.

    ``change`` and ``waiting`` are the candidate's: the next build goes on from there. ``areas``: the groups of
    every period that was published, which later builds keep to. ``approval`` is there where one was needed.
    ``signed_with``: the id of the public key that verifies ``manifest.json.sig``, see
    :mod:`lakehouse.release.signing`. ``notices``: those that stood when it was released.
    """

    format: Literal["city-data-exchange/manifest/1"] = "city-data-exchange/manifest/1"
    mart: str
    major: int
    release: str
    candidate: str
    created_at: datetime
    title: str
    description: str
    theme: str
    keywords: tuple[str, ...]
    licence: dict[str, str]
    attribution: tuple[str, ...]
    simulated_inputs: tuple[str, ...] = Field(description="datasets among the inputs that are simulated")
    access: str
    price: dict[str, Any] | None
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: dict[str, str]
    files: tuple[File, ...]
    rows: int
    bytes: int
    inputs: tuple[Input, ...]
    change: int
    waiting: tuple[str, ...]
    code: str
    code_version: str
    environment: Environment | None = None
    approved_by: str | None
    approval: Approval | None = None
    signed_with: str | None = None
    notices: tuple[Notice, ...] = ()
    privacy: dict[str, Any]
    areas: tuple[AreaGroup, ...] = ()
    gates: dict[str, Any]
    diff: dict[str, Any]

    @property
    def prefix(self) -> str:
        return release_prefix(self.mart, self.major, self.release)


def release_prefix(mart: str, major: int, release: str) -> str:
    """The release's folder in the bucket of marts."""
    return f"{mart}/v{major}/releases/{release}"


def latest_key(mart: str, major: int) -> str:
    """The key of the pointer, the only thing in the bucket of marts that moves."""
    return f"{mart}/v{major}/latest.json"


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


class UnreadablePointer(StorageError):
    """What stands there is no pointer of this mart: somebody else wrote it."""

    def __init__(self, mart: str, major: int, why: str) -> None:
        super().__init__(
            f"marts/{latest_key(mart, major)} is no pointer ({why}), so which release is the newest is not known; "
            f"remove it, and `exchange rollback {mart} RELEASE` makes it again"
        )


class UnreadableManifest(StorageError):
    """What stands there is no manifest of this release: somebody else wrote it."""


def manifest_key(mart: str, major: int, release: str) -> str:
    return f"{release_prefix(mart, major, release)}/manifest.json"


def parse_pointer(content: bytes, *, mart: str, major: int) -> Pointer:
    """Raises :class:`UnreadablePointer`."""
    try:
        return Pointer.model_validate_json(content)
    except ValidationError as error:
        raise UnreadablePointer(mart, major, _first_fault(error)) from None


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def parse_manifest(content: bytes, *, mart: str, major: int, release: str) -> Manifest:
    """Raises :class:`UnreadableManifest` where it is not the manifest of just this release."""
    key = manifest_key(mart, major, release)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UnreadableManifest(f"marts/{key} is no manifest ({_first_fault(error)})") from None
    if (manifest.mart, manifest.major, manifest.release) != (mart, major, release):
        found = f"{manifest.mart} v{manifest.major}, {manifest.release}"
        raise UnreadableManifest(f"marts/{key} is the manifest of another release: {found}")
    return manifest


def read_manifest(exchange: Exchange, *, mart: str, major: int, release: str) -> Manifest:
    """As it stands, its signature not verified. Raises :class:`lakehouse.storage.lake.ObjectNotFound` where there
    is no such release, and :class:`UnreadableManifest`."""
    content = exchange.lake.read_bytes("marts", manifest_key(mart, major, release))
    return parse_manifest(content, mart=mart, major=major, release=release)


def latest_manifest(exchange: Exchange, *, mart: str, major: int) -> Manifest | None:
    """The manifest that the mart's pointer names, or ``None``: before its first release, or after its only one
    was yanked. Raises :class:`UnreadablePointer`."""
    try:
        content = exchange.lake.read_bytes("marts", latest_key(mart, major))
    except ObjectNotFound:
        return None
    release = parse_pointer(content, mart=mart, major=major).release
    return None if release is None else read_manifest(exchange, mart=mart, major=major, release=release)


def read_candidate(exchange: Exchange, *, mart: str, candidate: str) -> Candidate:
    """Raises :class:`lakehouse.storage.lake.ObjectNotFound` where there is no such candidate."""
    return Candidate.model_validate_json(exchange.lake.read_bytes("candidates", f"{mart}/{candidate}/candidate.json"))
