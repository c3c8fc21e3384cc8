"""The certificate of an erasure: what was taken out of where and what a search found after, signed."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import signing_key
from lakehouse.release.doctor import CERTIFICATES


def write_certificate(exchange: Exchange, facts: dict[str, Any]) -> dict[str, Any]:
    """Signs the facts (Ed25519 over their canonical JSON) and keeps them in ``reports``; returns all of it."""
    key = signing_key(exchange)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    certificate = {
        **facts,
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(key.sign(_canonical(facts))).decode(),
    }
    exchange.lake.write_bytes(
        "reports",
        f"{CERTIFICATES}/{facts['erasure']}.json",
        json.dumps(certificate, indent=1, ensure_ascii=False).encode(),
        content_type="application/json",
    )
    return certificate


def verify_certificate(certificate: dict[str, Any], public_key: str) -> bool:
    """Whether the certificate is as it was signed by the owner of that key (base64 of 32 bytes)."""
    facts = {name: value for name, value in certificate.items() if name not in ("public_key", "signature")}
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(
            base64.b64decode(certificate["signature"]), _canonical(facts)
        )
    except InvalidSignature:
        return False
    return True


def _canonical(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
