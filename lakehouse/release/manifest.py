"""What a candidate and a release say of themselves."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lakehouse.exchange import Exchange
from lakehouse.storage.lake import ObjectNotFound


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(Strict):
    """One Parquet file; ``path`` is relative to its release, ``deliveries`` those whose rows it can hold."""

    path: str
    partition: str
    rows: int
    bytes: int
    sha256: str
    deliveries: tuple[str, ...]


class Input(Strict):
    delivery: str
    dataset: str
    file: str
    sha256: str
    contract_version: str
    simulated: bool
    licence: str
    attribution: str


class Field_(Strict):
    name: str
    type: str
    description: str
    unit: str | None


class BuildCheck(Strict):
    """A check made while the build's database stood: a dbt test, or the recount of the privacy thresholds."""

    name: str
    gate: Literal["dbt", "privacy"]
    severity: Literal["blocking", "warning"]
    success: bool
    found: str


class Candidate(Strict):
    """What a build made. ``built``: every partition it built, with its file or none where it came out empty."""

    mart: str
    major: int
    candidate: str
    created_at: datetime
    base: str | None
    change: int
    code: str
    code_version: str
    reason: str
    built: dict[str, File | None]
    held: dict[str, str]
    inputs: tuple[Input, ...]
    checks: tuple[BuildCheck, ...]
    seconds: float

    @property
    def prefix(self) -> str:
        return f"{self.mart}/{self.candidate}"


class Manifest(Strict):
    """A release: what it holds, of what it was made, and what its gate found."""

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
    columns: tuple[Field_, ...]
    key: tuple[str, ...]
    partition: dict[str, str]
    files: tuple[File, ...]
    rows: int
    bytes: int
    inputs: tuple[Input, ...]
    code: str
    code_version: str
    privacy: dict[str, Any]
    gates: dict[str, Any]
    diff: dict[str, Any]


def release_prefix(mart: str, major: int, release: str) -> str:
    return f"{mart}/v{major}/releases/{release}"


def latest_key(mart: str, major: int) -> str:
    return f"{mart}/v{major}/latest.json"


def read_manifest(exchange: Exchange, *, mart: str, major: int, release: str) -> Manifest:
    """Raises :class:`lakehouse.storage.lake.ObjectNotFound` where there is no such release."""
    key = f"{release_prefix(mart, major, release)}/manifest.json"
    return Manifest.model_validate_json(exchange.lake.read_bytes("marts", key))


def latest_manifest(exchange: Exchange, *, mart: str, major: int) -> Manifest | None:
    """The manifest that the mart's pointer names, or ``None`` before its first release."""
    try:
        pointer = json.loads(exchange.lake.read_bytes("marts", latest_key(mart, major)))
    except ObjectNotFound:
        return None
    return read_manifest(exchange, mart=mart, major=major, release=pointer["release"])


def read_candidate(exchange: Exchange, *, mart: str, candidate: str) -> Candidate:
    return Candidate.model_validate_json(
        exchange.lake.read_bytes("candidates", f"{mart}/{candidate}/candidate.json")
    )
