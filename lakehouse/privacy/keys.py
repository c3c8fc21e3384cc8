"""Secret keys, one for each provider, purpose and epoch, and what is derived from them.

A key never leaves the process that uses it: it stands in no SQL, log, compiled model or manifest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lakehouse.settings import Settings

KEY_BYTES = 32
_NAME = re.compile(r"[a-z0-9_]+")


class KeyFault(ValueError):
    """A key that cannot be used; the message says why and what to do, and never the key."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a key is for. Another scope gives another pseudonym of the same person."""

    provider: str
    purpose: str
    epoch: str = "1"

    def __post_init__(self) -> None:
        for part in (self.provider, self.purpose, self.epoch):
            if not _NAME.fullmatch(part):
                raise ValueError(f"{part!r} cannot name a key: small letters, digits and _ only")

    def __str__(self) -> str:
        return f"{self.provider}.{self.purpose}.{self.epoch}"


class KeyStore(Protocol):
    """Where keys are kept."""

    def key(self, scope: Scope) -> bytes:
        """The 32 bytes of a scope, made at the first call and the same ever after. Raises KeyFault."""
        ...


class FileKeys:
    """A folder that only its owner may enter, a file a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, scope: Scope) -> bytes:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{scope}.key"
        key = key_file(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFault(
                f"the key of {scope} may be read by others than its owner: chmod 600 the file, and change it"
            )
        return key


def key_file(path: Path) -> bytes:
    """The key in a file, made at the first call for its owner alone. Raises KeyFault where it was cut off."""
    if not path.exists():
        _make(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise KeyFault(f"{path.name} holds {len(key)} bytes, not {KEY_BYTES}: restore it from its backup")
    return key


def _make(path: Path) -> None:
    """Written aside and linked, so that of two processes one makes it and none reads half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
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


def open_keys(settings: Settings) -> KeyStore:
    """The exchange's keys, where its settings say."""
    return FileKeys(settings.keys_path)


def pseudonyms(values: Iterable[str], key: bytes) -> dict[str, str]:
    """The keyed hash (HMAC-SHA256, 32 hex digits) of each distinct value."""
    return {value: hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32] for value in set(values)}


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The exchange's key for signatures (Ed25519): the one that ``EXCHANGE_SIGNING_KEY`` holds or names, or else one
    in the folder of the keys. Raises :class:`KeyFault`."""
    if settings.signing_key is None:
        store = open_keys(settings)
        return Ed25519PrivateKey.from_private_bytes(store.key(Scope(provider="exchange", purpose="signing")))
    given = settings.signing_key.get_secret_value().strip()
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
