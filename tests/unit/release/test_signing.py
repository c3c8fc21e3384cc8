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
from lakehouse.privacy.keys import KeyFault, signing_key, signing_keys
from lakehouse.release.fetch import fetch
from lakehouse.release.gate import gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import UnreadableManifest
from lakehouse.release.promote import NotPromotable, promote
from lakehouse.release.signing import (
    Untrusted,
    key_id,
    public_key_name,
    rotate_signing,
    sign,
    verified_manifest,
    vouched_for,
    voucher_name,
)
from lakehouse.storage.lake import Lake
from tests.dying import Died, mortal
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


def release_again(mini: Mini) -> None:
    [waiting] = waiting_candidates(mini.exchange)
    gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])
    promote(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])


def test_after_a_rotation_old_and_new_releases_verify_whichever_key_is_pinned(second: Mini, tmp_path: Path) -> None:
    before, old = second.latest(TRAFFIC), signing_key(second.exchange).public_key()
    identity = rotate_signing(second.exchange)
    release_again(second)
    after, new = second.latest(TRAFFIC), signing_key(second.exchange).public_key()
    assert (before.signed_with, after.signed_with) == (key_id(old), key_id(new))
    assert identity == key_id(new) != key_id(old)
    for manifest in (before, after):
        for pinned in (None, old, new):
            fetch(
                second.exchange, manifest, to=tmp_path / f"{manifest.release}-{pinned and key_id(pinned)}", key=pinned
            )
        with pytest.raises(Untrusted, match="which does not vouch for it"):
            fetch(second.exchange, manifest, to=tmp_path / "no", key=Ed25519PrivateKey.generate().public_key())


def test_a_leaked_key_vouches_for_no_other(second: Mini, tmp_path: Path) -> None:
    """Nor do those before it vouch for the key that came after."""
    before, old = second.latest(TRAFFIC), signing_key(second.exchange).public_key()
    rotate_signing(second.exchange, leaked=True)
    release_again(second)
    after, new = second.latest(TRAFFIC), signing_key(second.exchange).public_key()
    fetch(second.exchange, before, to=tmp_path / "before")
    fetch(second.exchange, after, to=tmp_path / "after", key=new)
    for manifest, pinned in ((before, new), (after, old)):
        with pytest.raises(Untrusted, match="which does not vouch for it"):
            fetch(second.exchange, manifest, to=tmp_path / "no", key=pinned)


def test_a_voucher_that_somebody_forged_or_moved_is_none(second: Mini, tmp_path: Path) -> None:
    manifest, lake = second.latest(TRAFFIC), second.exchange.lake
    pinned = signing_key(second.exchange).public_key()
    forger = Ed25519PrivateKey.generate()
    identity = key_id(forger.public_key())
    rotate_signing(second.exchange)
    [real] = [entry.key for entry in lake.list("marts", "keys/") if entry.key.endswith(f"by-{key_id(pinned)}.sig")]
    pem = forger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    lake.write_bytes("marts", public_key_name(identity), pem)
    of_another(lake, f"{manifest.prefix}/manifest.json")
    said = json.loads(lake.read_bytes("marts", f"{manifest.prefix}/manifest.json")) | {"signed_with": identity}
    lake.write_bytes("marts", f"{manifest.prefix}/manifest.json", json.dumps(said).encode())
    lake.write_bytes("marts", f"{manifest.prefix}/manifest.json.sig", forger.sign(json.dumps(said).encode()))
    for voucher in (forger.sign(pem), lake.read_bytes("marts", real)):
        lake.write_bytes("marts", voucher_name(identity, by=key_id(pinned)), voucher)
        with pytest.raises(Untrusted, match="which does not vouch for it"):
            fetch(second.exchange, manifest, to=tmp_path / "no", key=pinned)


def test_a_rotation_that_was_killed_is_finished_by_the_next(released: Mini, tmp_path: Path) -> None:
    """Wherever it dies, one key more is there in the end, and the key before vouches for it."""
    old = signing_key(released.exchange).public_key()
    for calls in range(12):
        mini = released.copy(tmp_path / str(calls))
        dying, _ = mortal(mini.exchange, calls)
        try:
            rotate_signing(dying)
        except Died:
            rotate_signing(mini.exchange)
        else:
            assert calls > 4
            return
        new = signing_key(mini.exchange).public_key()
        lake = mini.exchange.lake
        found = vouched_for(key_id(new), by=old, read=lambda name, lake=lake: lake.read_bytes("marts", name))
        assert found is not None
        assert key_id(found) == key_id(new) != key_id(old)
        assert len(signing_keys(mini.exchange)) == 2


def test_a_release_that_a_rotation_overtakes_is_signed_by_the_key_that_it_names(second: Mini) -> None:
    manifest = second.latest(TRAFFIC)
    content = second.exchange.lake.read_bytes("marts", f"{manifest.prefix}/manifest.json")
    rotate_signing(second.exchange)
    sign(second.exchange, manifest, content)
    verified_manifest(second.exchange, mart=TRAFFIC, major=1, release=manifest.release)


def test_a_key_from_the_environment_is_not_the_exchange_s_to_rotate(released: Mini) -> None:
    with pytest.raises(KeyFault, match="EXCHANGE_SIGNING_KEY: give another one there"):
        rotate_signing(with_key(released, pem_of(Ed25519PrivateKey.generate())))


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
