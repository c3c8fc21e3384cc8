"""Envelope encryption: data keys are made and wrapped by a key that stays in a key management service (KMS).

The context of a key (its scope) is bound into the wrapping: with another context it does not open.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES, NONCE_BYTES = 32, 12


class KmsFault(Exception):
    """What the service could or would not do; the message says what to do next, and shows no key."""


class Kms(Protocol):
    """A service that wraps keys of 32 bytes."""

    def new_key(self, context: dict[str, str]) -> tuple[bytes, bytes]:
        """A new key, plain and wrapped. Raises :class:`KmsFault`."""
        ...

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        """The plain key of the same context. Raises :class:`KmsFault`."""
        ...


def open_kms(address: str) -> Kms:
    """``kms://file/<path of the master key>``, ``kms://env/<variable with the master key>`` or
    ``kms://aws/<key id, alias or ARN>[?region=…&endpoint=…]``. Raises :class:`KmsFault`."""
    parts = urlsplit(address)
    name = unquote(parts.path.removeprefix("/"))
    if parts.netloc == "file" and name:
        return MasterKey.in_file(Path("/", name))
    if parts.netloc == "env" and name:
        return MasterKey.in_environment(name)
    if parts.netloc == "aws" and name:
        asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        return AwsKms(name, region=asked.get("region"), endpoint=asked.get("endpoint"))
    raise KmsFault(f"{address} names no service: use kms://file/…, kms://env/… or kms://aws/…")


class MasterKey:
    """A service in a file: a master key of 32 bytes (in base64) wraps by AES-256-GCM."""

    def __init__(self, master: bytes) -> None:
        self._cipher = AESGCM(master)

    @classmethod
    def in_file(cls, path: Path) -> MasterKey:
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise KmsFault(
                "the file of the master key cannot be read: `openssl rand -base64 32` makes one, for its owner alone"
            ) from None
        if path.stat().st_mode & 0o077:
            raise KmsFault("the file of the master key may be read by others than its owner: chmod 600 it")
        return cls(_master(text))

    @classmethod
    def in_environment(cls, variable: str) -> MasterKey:
        if not os.environ.get(variable):
            raise KmsFault(f"{variable} is not set: it is to hold a master key, 32 bytes in base64")
        return cls(_master(os.environ[variable]))

    def new_key(self, context: dict[str, str]) -> tuple[bytes, bytes]:
        key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
        return key, nonce + self._cipher.encrypt(nonce, key, _bound(context))

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(context))
        except (InvalidTag, ValueError):
            raise KmsFault("it was wrapped by another master key, or for another scope, or it was changed") from None


def _master(text: str) -> bytes:
    try:
        master = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        master = b""
    if len(master) != KEY_BYTES:
        raise KmsFault("a master key is 32 bytes in base64: `openssl rand -base64 32` makes one")
    return master


def _bound(context: dict[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True, separators=(",", ":")).encode()


class AwsKms:
    """AWS KMS: ``GenerateDataKey`` and ``Decrypt`` with the scope as encryption context, which its log shows too."""

    def __init__(self, key: str, *, region: str | None = None, endpoint: str | None = None) -> None:
        import boto3
        from botocore.config import Config

        self._key = key
        self._client: Any = boto3.client(
            "kms",
            region_name=region,
            endpoint_url=endpoint,
            config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4}),
        )

    def new_key(self, context: dict[str, str]) -> tuple[bytes, bytes]:
        made = self._ask("generate_data_key", KeyId=self._key, KeySpec="AES_256", EncryptionContext=context)
        return made["Plaintext"], made["CiphertextBlob"]

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        asked = {"KeyId": self._key, "CiphertextBlob": wrapped, "EncryptionContext": context}
        plain: bytes = self._ask("decrypt", **asked)["Plaintext"]
        return plain

    def _ask(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise KmsFault(f"AWS KMS refuses {operation} with {code}: see the key's policy and its state") from None
        except BotoCoreError as error:
            raise KmsFault(f"AWS KMS does not answer ({type(error).__name__}): see region and credentials") from None
