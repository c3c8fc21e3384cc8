"""Where keys are kept: files for their owner alone, or wrapped by a key management service."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import FileKeys, KeyFault, KeyStore, Scope, _kms, key_id, open_keys
from lakehouse.privacy.kms import KmsFault, open_kms
from lakehouse.privacy.pseudonyms import keyed_hash
from lakehouse.settings import Settings

SCOPE = Scope(provider="utility", purpose="pseudonym")
OTHERS = [
    Scope(provider="city", purpose="pseudonym"),
    Scope(provider="utility", purpose="vault"),
    Scope(provider="utility", purpose="pseudonym", epoch=2),
]


def store(tmp_path: Path, address: str = "") -> KeyStore:
    exchange = Exchange(Settings(home=tmp_path / "home", lake=(tmp_path / "lake").as_uri(), keys=address))
    exchange.lake.ensure_bucket("vault")
    return open_keys(exchange)


@pytest.fixture
def master(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """moto's KMS on loopback: no cloud was asked."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cloud(service: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    client = boto3.client("kms", region_name="eu-north-1", endpoint_url=service)
    made = client.create_key()["KeyMetadata"]["KeyId"]
    return f"kms://aws/{made}?region=eu-north-1&endpoint={service}"


def of_all(tmp_path: Path, master: Path, cloud: str) -> list[str]:
    return ["", (tmp_path / "elsewhere").as_uri(), f"kms://file{master}", cloud]


def test_each_scope_has_its_key_and_keeps_it(tmp_path: Path, master: Path, cloud: str) -> None:
    for number, address in enumerate(of_all(tmp_path, master, cloud)):
        folder = tmp_path / str(number)
        keys = store(folder, address)
        made = [keys.key(scope) for scope in (SCOPE, *OTHERS)]
        assert len({len(key) for key in made}) == 1
        assert len(made[0]) == 32
        assert len(set(made)) == 4
        _kms.cache_clear()
        again = store(folder, address)
        assert [again.key(scope) for scope in (SCOPE, *OTHERS)] == made
        assert [one.scope for one in again.kept()] == sorted([SCOPE, *OTHERS])


def test_two_makers_at_once_get_one_key(tmp_path: Path, master: Path, cloud: str) -> None:
    for number, address in enumerate(of_all(tmp_path, master, cloud)):
        keys = store(tmp_path / str(number), address)
        with ThreadPoolExecutor(12) as pool:
            assert len(set(pool.map(lambda _: keys.key(SCOPE), range(24)))) == 1  # noqa: B023


def test_a_wrapped_key_lies_nowhere_in_the_plain(tmp_path: Path, master: Path, cloud: str) -> None:
    for address in (f"kms://file{master}", cloud):
        key = store(tmp_path, address).key(SCOPE)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.suffix == ".wrapped" for path in files)
        assert not any(key in path.read_bytes() or key.hex().encode() in path.read_bytes() for path in files)
        next(path for path in files if path.suffix == ".wrapped").unlink()


def test_a_wrapped_key_opens_for_its_own_scope_alone(tmp_path: Path, master: Path, cloud: str) -> None:
    for number, address in enumerate((f"kms://file{master}", cloud)):
        folder = tmp_path / str(number)
        keys = store(folder, address)
        keys.key(SCOPE)
        place = folder / "lake" / "vault" / "keys"
        (place / f"{OTHERS[0]}.wrapped").write_bytes((place / f"{SCOPE}.wrapped").read_bytes())
        with pytest.raises(KeyFault, match="city.pseudonym.1"):
            keys.key(OTHERS[0])


def test_another_master_key_opens_nothing_and_neither_do_changed_bytes(tmp_path: Path, master: Path) -> None:
    address = f"kms://file{master}"
    service = open_kms(address)
    key, wrapped = service.new_key({"epoch": "1"})
    assert service.unwrap(wrapped, {"epoch": "1"}) == key
    for damaged in (wrapped[:-1], wrapped[:20] + bytes([wrapped[20] ^ 1]) + wrapped[21:], b""):
        with pytest.raises(KmsFault, match="another master key"):
            service.unwrap(damaged, {"epoch": "1"})
    master.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    with pytest.raises(KmsFault, match="another master key"):
        open_kms(address).unwrap(wrapped, {"epoch": "1"})


def test_a_master_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KmsFault, match="MASTER is not set"):
        open_kms("kms://env/MASTER")
    monkeypatch.setenv("MASTER", "short")
    with pytest.raises(KmsFault, match="32 bytes in base64"):
        open_kms("kms://env/MASTER")
    monkeypatch.setenv("MASTER", base64.b64encode(bytes(32)).decode())
    key, wrapped = open_kms("kms://env/MASTER").new_key({})
    assert open_kms("kms://env/MASTER").unwrap(wrapped, {}) == key


def test_a_service_that_refuses_is_named_and_shows_no_key(tmp_path: Path, cloud: str) -> None:
    key = store(tmp_path, cloud).key(SCOPE)
    nobody = "kms://aws/alias/nobody?" + cloud.partition("?")[2]
    with pytest.raises(
        KeyFault, match=r"city\.pseudonym\.1: AWS KMS refuses generate_data_key with NotFound"
    ) as refused:
        store(tmp_path, nobody).key(OTHERS[0])
    assert key.hex() not in str(refused.value)
    with pytest.raises(KeyFault, match="AWS KMS refuses decrypt with NotFound"):
        store(tmp_path, nobody).key(SCOPE)
    silent = "kms://aws/x?region=eu-north-1&endpoint=http://127.0.0.1:9"
    with pytest.raises(KeyFault, match="AWS KMS does not answer"):
        store(tmp_path, silent).key(OTHERS[0])


def test_files_that_others_may_read_are_refused(tmp_path: Path, master: Path) -> None:
    keys = FileKeys(tmp_path / "keys")
    keys.key(SCOPE)
    [path] = (tmp_path / "keys").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    path.chmod(0o640)
    with pytest.raises(KeyFault, match="chmod 600"):
        keys.key(SCOPE)
    master.chmod(0o644)
    with pytest.raises(KmsFault, match="chmod 600"):
        open_kms(f"kms://file{master}")


@pytest.mark.parametrize("address", ["/just/a/path", "kms://vault/x", "kms://aws", "https://keys"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(KeyFault, match="kms://"):
        store(tmp_path, address).key(SCOPE)


def test_the_keyed_hash_is_hmac() -> None:
    for length in (0, 1, 31, 55, 64, 65, 1000):
        key, message = os.urandom(32), os.urandom(length)
        assert keyed_hash(key)(message) == hmac.digest(key, message, "sha256")


def test_a_key_is_told_from_another_and_not_shown() -> None:
    one, other = os.urandom(32), os.urandom(32)
    assert key_id(one) == key_id(one) != key_id(other)
    assert one.hex()[:16] != key_id(one)
