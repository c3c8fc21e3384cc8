"""Secret keys, one for each provider, purpose and epoch, and where they are kept.

A key never leaves the process that uses it: it stands in no SQL, log, compiled model or manifest. What may be
shown of one is its :func:`key_id`.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lakehouse.exchange import Exchange
from lakehouse.privacy.kms import Kms, KmsFault, open_kms
from lakehouse.storage.lake import Conflict, Lake

KEY_BYTES = 32
# What the exchange itself keeps keys for, beside its providers.
EXCHANGE = "exchange"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE = re.compile(r"(?P<provider>[a-z][a-z0-9_]*)\.(?P<purpose>[a-z]+)\.(?P<epoch>\d+)\.(?:key|wrapped)")
WRAPPED_BUCKET, WRAPPED_PREFIX = "vault", "keys/"

# pseudonym: ids in `clean`. record: ids in `clean` that name a row and no person. vault: under which hash a person's
# salt is found. erasure: under which hash the index knows who was erased. audit: units in membership records.
# signing: certificates and manifests. links: addresses for downloads.
Purpose = Literal["pseudonym", "record", "vault", "erasure", "audit", "signing", "links"]


class KeyFault(ValueError):
    """A key that cannot be used; the message says why and what to do, and never the key."""


@dataclass(frozen=True, kw_only=True, order=True)
class Scope:
    """What a key is for. Another scope gives another pseudonym of the same person."""

    provider: str
    purpose: Purpose
    epoch: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.provider) or self.epoch < 1:
            raise ValueError(f"{self} cannot name a key: a provider's name, a purpose, and an epoch from 1")

    def __str__(self) -> str:
        return f"{self.provider}.{self.purpose}.{self.epoch}"


@dataclass(frozen=True, kw_only=True)
class KeptKey:
    """A key that there is, without the key."""

    scope: Scope
    created_at: datetime


class KeyStore(Protocol):
    """Where keys are kept."""

    def key(self, scope: Scope) -> bytes:
        """The 32 bytes of a scope, made at the first call and the same ever after. Raises :class:`KeyFault`."""
        ...

    def kept(self) -> list[KeptKey]:
        """The keys that there are, sorted."""
        ...


def open_keys(exchange: Exchange) -> KeyStore:
    """The exchange's keys, where ``EXCHANGE_KEYS`` says. Raises :class:`KeyFault` for an address it does not know."""
    address = exchange.settings.keys_url
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FileKeys(Path(unquote(parts.path)))
    if parts.scheme == "kms":
        return WrappedKeys(exchange.lake, address)
    raise KeyFault(
        f"EXCHANGE_KEYS={address}: keys are at file:///folder, kms://file/path/of/a/master/key, kms://env/VARIABLE or "
        "kms://aws/<key id, alias or ARN>"
    )


class FileKeys:
    """A folder that only its owner may enter, a file a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, scope: Scope) -> bytes:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{scope}.key"
        if not path.exists():
            _make(path)
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise KeyFault(f"{path.name} holds {len(key)} bytes, not {KEY_BYTES}: restore it from its backup")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFault(
                f"the key of {scope} may be read by others than its owner: chmod 600 the file, and rotate the key"
            )
        return key

    def kept(self) -> list[KeptKey]:
        found = []
        for path in self._folder.glob("*.key"):
            if scope := _scope_of(path.name):
                made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(KeptKey(scope=scope, created_at=made))
        return sorted(found, key=lambda one: one.scope)


def _make(path: Path) -> None:
    """Written aside and linked, so that of two processes one makes it and none reads half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass  # somebody else was first: theirs holds
    finally:
        aside.unlink()


class WrappedKeys:
    """Keys under the key of a key management service: in the lake they lie wrapped, in bucket ``vault``, and plain
    only in the memory of a process. Their scope is bound to them: one that was moved to another name does not open.
    """

    def __init__(self, lake: Lake, address: str) -> None:
        self._lake, self._address = lake, address

    def key(self, scope: Scope) -> bytes:
        place = f"{WRAPPED_PREFIX}{scope}.wrapped"
        try:
            if self._lake.stat(WRAPPED_BUCKET, place) is None:
                _, wrapped = _kms(self._address).new_key(_context(scope))
                # Where somebody else was first, theirs holds.
                with suppress(Conflict):
                    self._lake.write_if(WRAPPED_BUCKET, place, wrapped, expected=None)
            key = _plain(self._address, self._lake.read_bytes(WRAPPED_BUCKET, place), scope)
        except KmsFault as fault:
            raise KeyFault(f"the key of {scope}: {fault}") from None
        if len(key) != KEY_BYTES:
            raise KeyFault(f"the key of {scope} has {len(key)} bytes, not {KEY_BYTES}")
        return key

    def kept(self) -> list[KeptKey]:
        found = []
        for entry in self._lake.list(WRAPPED_BUCKET, WRAPPED_PREFIX):
            if scope := _scope_of(entry.key.removeprefix(WRAPPED_PREFIX)):
                found.append(KeptKey(scope=scope, created_at=entry.modified))
        return sorted(found, key=lambda one: one.scope)


@cache
def _kms(address: str) -> Kms:
    return open_kms(address)


@cache
def _plain(address: str, wrapped: bytes, scope: Scope) -> bytes:
    """A service is asked once for each key and process."""
    return _kms(address).unwrap(wrapped, _context(scope))


def _context(scope: Scope) -> dict[str, str]:
    return {"provider": scope.provider, "purpose": scope.purpose, "epoch": str(scope.epoch)}


def _scope_of(name: str) -> Scope | None:
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    return Scope(provider=found["provider"], purpose=found["purpose"], epoch=int(found["epoch"]))  # type: ignore[arg-type]


def key_id(key: bytes) -> str:
    """Says which key it is, and nothing of it: 16 hex digits."""
    return hmac.digest(key, b"key id", "sha256").hex()[:16]


def signing_key(exchange: Exchange) -> Ed25519PrivateKey:
    """The exchange's key for signatures (Ed25519): the one that ``EXCHANGE_SIGNING_KEY`` holds or names, or else the
    newest among the others. Raises :class:`KeyFault`."""
    return signing_keys(exchange)[0]


def signing_keys(exchange: Exchange) -> list[Ed25519PrivateKey]:
    """The key that signs now, and after it those that signed before, the newest first. Raises :class:`KeyFault`."""
    if exchange.settings.signing_key is not None:
        return [_given_key(exchange.settings.signing_key.get_secret_value().strip())]
    keys = open_keys(exchange)
    epochs = {one.scope.epoch for one in keys.kept() if one.scope == signing_scope(one.scope.epoch)} or {1}
    return [
        Ed25519PrivateKey.from_private_bytes(keys.key(signing_scope(epoch))) for epoch in sorted(epochs, reverse=True)
    ]


def signing_scope(epoch: int) -> Scope:
    return Scope(provider=EXCHANGE, purpose="signing", epoch=epoch)


def _given_key(given: str) -> Ed25519PrivateKey:
    text = given.encode()
    if b"-----BEGIN" not in text and Path(given).is_file():
        text = Path(given).read_bytes().strip()
    try:
        if b"-----BEGIN" not in text:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFault(
            "EXCHANGE_SIGNING_KEY is no Ed25519 key: give 32 bytes in base64, PEM without a password, or the path of a "
            "file with one of them, as `openssl genpkey -algorithm ed25519 -out FILE` makes it"
        )
    return key
