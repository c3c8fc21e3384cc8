"""Signed manifests: Ed25519 over the very bytes of ``manifest.json``, so that anybody can check who released what.

The signature, 64 bytes, stands beside the manifest as ``manifest.json.sig``; the manifest names the key, and the key
stands under ``keys/<id>.pem`` in the same bucket. Every file's hash is in the manifest, so its signature covers
them all. A key that was changed for another stays published: what it signed can be verified ever after.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import signing_key
from lakehouse.release.manifest import Manifest, manifest_key, parse_manifest
from lakehouse.storage.lake import ObjectNotFound

SUFFIX = ".sig"
ID_LENGTH = 16


class Untrusted(RuntimeError):
    """A release that is not as the exchange signed it; the message says what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True)
class SignedManifest:
    """A manifest that was verified, with what a consumer needs to verify it again: bytes, signature, public key."""

    manifest: Manifest
    content: bytes
    signature: bytes
    public_key: bytes


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the key as it stands in its PEM file (SubjectPublicKeyInfo, DER)."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:ID_LENGTH]


def public_key_name(identity: str) -> str:
    """Its key in the bucket of marts."""
    return f"keys/{identity}.pem"


def signer(exchange: Exchange) -> str:
    """The id of the key that this exchange signs with now. Its public half is published, if it is not yet."""
    public = signing_key(exchange).public_key()
    name = public_key_name(key_id(public))
    if exchange.lake.stat("marts", name) is None:
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        exchange.lake.write_bytes("marts", name, pem, content_type="application/x-pem-file")
    return key_id(public)


def sign(exchange: Exchange, manifest: Manifest, content: bytes) -> None:
    """Puts the signature of these bytes beside the manifest. The same bytes and key give the same signature, so it
    may be written again."""
    signature = signing_key(exchange).sign(content)
    exchange.lake.write_bytes("marts", signature_key(manifest), signature)


def signature_key(manifest: Manifest) -> str:
    return f"{manifest.prefix}/manifest.json{SUFFIX}"


def load_public_key(pem: bytes, *, shown: str) -> Ed25519PublicKey:
    """Raises :class:`Untrusted` where it is no Ed25519 key in PEM."""
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Untrusted(f"{shown} is no public Ed25519 key in PEM")
    return key


def verified_manifest(
    exchange: Exchange, *, mart: str, major: int, release: str, key: Ed25519PublicKey | None = None
) -> SignedManifest:
    """The manifest of a release, its signature verified by ``key``, or by the published key that it names.

    Raises :class:`Untrusted` for a missing signature, an unknown key, or bytes that were not signed by it, and
    :class:`lakehouse.storage.lake.ObjectNotFound` where there is no such release.
    """
    place = manifest_key(mart, major, release)
    content = exchange.lake.read_bytes("marts", place)
    manifest = parse_manifest(content, mart=mart, major=major, release=release)
    try:
        signature = exchange.lake.read_bytes("marts", f"{place}{SUFFIX}")
    except ObjectNotFound:
        raise Untrusted(
            f"marts/{place} has no signature beside it: do not use this release, and ask the exchange"
        ) from (None)
    if key is not None and manifest.signed_with != key_id(key):
        raise Untrusted(
            f"marts/{place} names the key {manifest.signed_with}, but the one that you trust is {key_id(key)}: ask the "
            "exchange whether it has changed its key"
        )
    key = key or _published_key(exchange, manifest)
    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise Untrusted(
            f"marts/{place} is not what the exchange signed with its key {key_id(key)}: it or its signature was "
            "changed; do not use this release, and tell the exchange"
        ) from None
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SignedManifest(manifest=manifest, content=content, signature=signature, public_key=pem)


def _published_key(exchange: Exchange, manifest: Manifest) -> Ed25519PublicKey:
    name = public_key_name(manifest.signed_with or "")
    try:
        if not manifest.signed_with:
            raise ObjectNotFound("marts", name)
        key = load_public_key(exchange.lake.read_bytes("marts", name), shown=f"marts/{name}")
    except ObjectNotFound:
        raise Untrusted(
            f"{manifest.mart}@{manifest.release} was signed with an unknown key {manifest.signed_with}: no "
            f"marts/{name} is published"
        ) from None
    if key_id(key) != manifest.signed_with:
        raise Untrusted(f"marts/{name} holds another key than its name says: {key_id(key)}")
    return key
