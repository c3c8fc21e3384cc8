"""A release is what the exchange signed: whatever was changed after is refused, and for its own reason."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import KeyFault, signing_key
from lakehouse.release.fetch import fetch
from lakehouse.release.gate import gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import UnreadableManifest
from lakehouse.release.promote import NotPromotable, promote
from lakehouse.release.signing import Untrusted, key_id, public_key_name, verified_manifest
from lakehouse.storage.lake import Lake
from tests.mini_exchange import TRAFFIC, Mini


def with_key(mini: Mini, given: str) -> Exchange:
    return Exchange(mini.exchange.settings.model_copy(update={"signing_key": SecretStr(given)}))


def pem_of(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_consumer_verifies_a_release_with_openssl_alone(released: Mini, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    folder = fetch(released.exchange, released.latest(TRAFFIC), to=tmp_path)
    [key] = folder.glob("*.pem")
    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin", "-in",
             str(folder / "manifest.json"), "-sigfile", str(folder / "manifest.json.sig")]  # fmt: skip
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
    with (folder / "manifest.json").open("ab") as manifest:
        manifest.write(b" ")
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0


def rewritten(lake: Lake, key: str) -> None:
    lake.write_bytes("marts", key, lake.read_bytes("marts", key).replace(b'"access": "open"', b'"access": "agreement"'))


def of_another(lake: Lake, key: str) -> None:
    """A forger's manifest, signature and all, with a key that nobody published."""
    forger = Ed25519PrivateKey.generate()
    said = json.loads(lake.read_bytes("marts", key)) | {"signed_with": key_id(forger.public_key())}
    content = json.dumps(said).encode()
    lake.write_bytes("marts", key, content)
    lake.write_bytes("marts", f"{key}.sig", forger.sign(content))


def of_another_under_our_key_s_name(lake: Lake, key: str) -> None:
    forger = Ed25519PrivateKey.generate()
    content = lake.read_bytes("marts", key)
    name = public_key_name(json.loads(content)["signed_with"])
    pem = forger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    lake.write_bytes("marts", name, pem)
    lake.write_bytes("marts", f"{key}.sig", forger.sign(content))


def without_signature(lake: Lake, key: str) -> None:
    lake.delete("marts", f"{key}.sig")


def cut_signature(lake: Lake, key: str) -> None:
    lake.write_bytes("marts", f"{key}.sig", lake.read_bytes("marts", f"{key}.sig")[:40])


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (rewritten, "is not what the exchange signed with its key [0-9a-f]{16}: it or its signature was changed"),
        (of_another, "was signed with an unknown key [0-9a-f]{16}: no marts/keys/[0-9a-f]{16}.pem is published"),
        (of_another_under_our_key_s_name, "marts/keys/[0-9a-f]{16}.pem holds another key than its name says"),
        (without_signature, "manifest.json has no signature beside it"),
        (cut_signature, "is not what the exchange signed with its key"),
    ],
)
def test_what_was_tampered_with_is_refused_for_its_own_reason(
    released: Mini, tmp_path: Path, tamper: Callable[[Lake, str], None], reason: str
) -> None:
    manifest = released.latest(TRAFFIC)
    tamper(released.exchange.lake, f"{manifest.prefix}/manifest.json")
    with pytest.raises(Untrusted, match=reason):
        fetch(released.exchange, manifest, to=tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_the_manifest_of_another_release_is_no_stand_in(second: Mini) -> None:
    """It is signed, and says something else than its place."""
    before = second.latest(TRAFFIC)
    second.release()
    after, lake = second.latest(TRAFFIC), second.exchange.lake
    for suffix in ("", ".sig"):
        old = lake.read_bytes("marts", f"{before.prefix}/manifest.json{suffix}")
        lake.write_bytes("marts", f"{after.prefix}/manifest.json{suffix}", old)
    with pytest.raises(UnreadableManifest, match=f"is the manifest of another release: {TRAFFIC} v1, 0001-"):
        second.latest(TRAFFIC)


def test_a_pinned_key_trusts_no_other(released: Mini, tmp_path: Path) -> None:
    manifest = released.latest(TRAFFIC)
    ours = signing_key(released.exchange).public_key()
    fetch(released.exchange, manifest, to=tmp_path, key=ours)
    with pytest.raises(Untrusted, match=f"names the key {key_id(ours)}, but the one that you trust is "):
        fetch(released.exchange, manifest, to=tmp_path, key=Ed25519PrivateKey.generate().public_key())


def test_a_key_that_was_changed_leaves_old_releases_verifiable(second: Mini) -> None:
    before = second.latest(TRAFFIC)
    new = Ed25519PrivateKey.generate()
    exchange = with_key(second, pem_of(new))
    [waiting] = waiting_candidates(exchange)
    gate(exchange, mart=second.mart(TRAFFIC), candidate=waiting["candidate"])
    promote(exchange, mart=second.mart(TRAFFIC), candidate=waiting["candidate"])
    after = second.latest(TRAFFIC)
    assert before.signed_with != after.signed_with == key_id(new.public_key())
    for manifest in (before, after):
        found = verified_manifest(second.exchange, mart=TRAFFIC, major=1, release=manifest.release)
        assert found.manifest == manifest


def test_an_unsigned_manifest_that_somebody_laid_there_is_not_signed(second: Mini, tmp_path: Path) -> None:
    """The name of the next release can be told beforehand from what it will say."""
    foretold = second.copy(tmp_path / "foretold")
    foretold.release()
    after = foretold.latest(TRAFFIC)
    content = foretold.exchange.lake.read_bytes("marts", f"{after.prefix}/manifest.json")
    forged = re.sub(rb'"approved_by": null', b'"approved_by": "a reviewer"', content)
    assert forged != content
    before, lake = second.latest(TRAFFIC), second.exchange.lake
    lake.write_bytes("marts", f"{after.prefix}/manifest.json", forged)
    with pytest.raises(NotPromotable, match="stands there unsigned, and is not of candidate"):
        second.release()
    assert lake.stat("marts", f"{after.prefix}/manifest.json.sig") is None
    assert second.latest(TRAFFIC) == before


def test_a_key_is_taken_in_base64_in_pem_or_from_a_file(released: Mini, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    (tmp_path / "key.pem").write_text(pem_of(key))
    for given in (base64.b64encode(raw).decode(), pem_of(key), str(tmp_path / "key.pem")):
        exchange = with_key(released, given)
        assert key_id(signing_key(exchange).public_key()) == key_id(key.public_key())
        assert given not in repr(exchange.settings)


@pytest.mark.parametrize("given", ["not a key", "c2hvcnQ=", "/nowhere/key.pem", "-----BEGIN PRIVATE KEY-----\nx\n"])
def test_what_is_no_key_is_refused_and_not_shown(released: Mini, given: str) -> None:
    with pytest.raises(KeyFault, match="EXCHANGE_SIGNING_KEY is no Ed25519 key") as refused:
        signing_key(with_key(released, given))
    assert given not in str(refused.value)
