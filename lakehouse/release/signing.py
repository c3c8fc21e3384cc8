"""Signed manifests: Ed25519 over the very bytes of ``manifest.json``, so that anybody can check who released what.

The signature, 64 bytes, stands beside the manifest as ``manifest.json.sig``; the manifest names the key, and the key
stands under ``keys/<id>.pem`` in the same bucket. Every file's hash is in the manifest, so its signature covers
them all. A key that was changed for another stays published: what it signed can be verified ever after. When the
exchange makes its next key, each former key vouches for the new one and the new one for each of them, by its signature
over the other's PEM (``keys/<id>.pem.by-<id>.sig``): who trusts one of them trusts the others by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import KeyFault, open_keys, signing_key, signing_keys, signing_scope
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


def voucher_name(identity: str, *, by: str) -> str:
    """The key in the bucket of marts of what another key says of a key: that it is the exchange's too."""
    return f"{public_key_name(identity)}.by-{by}{SUFFIX}"


def signer(exchange: Exchange) -> str:
    """The id of the key that this exchange signs with now. Its public half is published, if it is not yet."""
    return _publish(exchange, signing_key(exchange))


def _publish(exchange: Exchange, key: Ed25519PrivateKey) -> str:
    identity = key_id(key.public_key())
    if exchange.lake.stat("marts", public_key_name(identity)) is None:
        pem = pem_of(key.public_key())
        exchange.lake.write_bytes("marts", public_key_name(identity), pem, content_type="application/x-pem-file")
    return identity


def pem_of(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(exchange: Exchange, manifest: Manifest, content: bytes) -> None:
    """Puts the signature of these bytes beside the manifest, by the key that it names, whatever key came meanwhile.
    The same bytes and key give the same signature, so it may be written again."""
    for key in signing_keys(exchange):
        if key_id(key.public_key()) == manifest.signed_with:
            exchange.lake.write_bytes("marts", signature_key(manifest), key.sign(content))
            return
    raise KeyFault(f"{manifest.mart}: the key {manifest.signed_with} is no more, and its manifest names it: try again")


def next_signing_epoch(exchange: Exchange) -> int:
    """The epoch of the key that a rotation makes; of one that was killed before the key was published, its own.

    Raises :class:`lakehouse.privacy.keys.KeyFault` where the key is not the exchange's to make.
    """
    if exchange.settings.signing_key is not None:
        raise KeyFault(
            "the signing key comes from EXCHANGE_SIGNING_KEY: give another one there. The next release is signed by "
            "it; the former public key stays published. Nobody vouches for it: tell those who pin a key"
        )
    kept = [one.scope.epoch for one in open_keys(exchange).kept() if one.scope == signing_scope(one.scope.epoch)]
    newest = max(kept, default=1)
    published = exchange.lake.stat("marts", public_key_name(key_id(signing_key(exchange).public_key())))
    return newest + 1 if newest == 1 or published is not None else newest


def rotate_signing(exchange: Exchange, *, leaked: bool = False) -> str:
    """Takes the next key for signatures into use, and returns its id. ``leaked``: somebody else may have a former
    key, so none vouches for the new one, and the new one for none. May be killed at any point and run again.

    Raises :class:`lakehouse.privacy.keys.KeyFault`.
    """
    epoch = next_signing_epoch(exchange)
    # Also where nothing was released yet: who pins it must find it.
    _publish(exchange, signing_keys(exchange)[-1])
    open_keys(exchange).key(signing_scope(epoch))
    new, *former = signing_keys(exchange)
    for old in [] if leaked else former:
        for one, by in ((new, old), (old, new)):
            name = voucher_name(key_id(one.public_key()), by=key_id(by.public_key()))
            exchange.lake.write_bytes("marts", name, by.sign(pem_of(one.public_key())))
    return _publish(exchange, new)


def vouched_for(identity: str, *, by: Ed25519PublicKey, read: Callable[[str], bytes]) -> Ed25519PublicKey | None:
    """The key of that id where the key ``by`` vouches for it, else ``None``. ``read`` gets an object of the bucket of
    marts, and raises :class:`lakehouse.storage.lake.ObjectNotFound`."""
    try:
        pem, voucher = read(public_key_name(identity)), read(voucher_name(identity, by=key_id(by)))
        by.verify(voucher, pem)
    except (ObjectNotFound, InvalidSignature):
        return None
    key = load_public_key(pem, shown=f"marts/{public_key_name(identity)}")
    return key if key_id(key) == identity else None


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
    key = (
        _published_key(exchange, manifest)
        if key is None
        else trusted_key(
            manifest, pinned=key, read=lambda name: exchange.lake.read_bytes("marts", name), shown=f"marts/{place}"
        )
    )
    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise Untrusted(
            f"marts/{place} is not what the exchange signed with its key {key_id(key)}: it or its signature was "
            "changed; do not use this release, and tell the exchange"
        ) from None
    return SignedManifest(manifest=manifest, content=content, signature=signature, public_key=pem_of(key))


def trusted_key(
    manifest: Manifest, *, pinned: Ed25519PublicKey, read: Callable[[str], bytes], shown: str
) -> Ed25519PublicKey:
    """The key that a manifest names, where it is the pinned one or that one vouches for it. Raises
    :class:`Untrusted`."""
    if manifest.signed_with == key_id(pinned):
        return pinned
    found = vouched_for(manifest.signed_with or "", by=pinned, read=read)
    if found is None:
        raise Untrusted(
            f"{shown} names the key {manifest.signed_with}, but the one that you trust is {key_id(pinned)}, which does "
            "not vouch for it: ask the exchange whether it has changed its key"
        )
    return found


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
