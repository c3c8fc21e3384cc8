"""`lakehouse.open`: the same rows in DuckDB, Polars and Arrow, over the lake and over the doors, verified."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lakehouse
from lakehouse.privacy.keys import signing_key
from lakehouse.release.listing import NoSuchRelease
from lakehouse.release.signing import Untrusted, pem_of, rotate_signing
from lakehouse.sharing.meter import usage_statement
from lakehouse.sharing.opened import CannotOpen
from tests.doors_server import served
from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import House, checksum

ENGINES = ("duckdb", "polars", "arrow")


def frame(opened: Any) -> pd.DataFrame:
    name = type(opened).__module__.split(".")[0]
    if "duckdb" in name:
        found: pd.DataFrame = opened.df()
    elif name == "polars":
        found = opened.collect().to_pandas()
    else:
        found = opened.to_table().to_pandas()
    return found


@pytest.fixture
def address(own_house: House) -> Iterator[str]:
    with served(own_house.client.app) as found:  # type: ignore[arg-type]
        yield found


def test_nothing_heavy_is_imported_before_it_is_opened() -> None:
    code = "import sys, lakehouse; sys.exit(any(m in sys.modules for m in ('duckdb', 'polars', 'pydantic', 'httpx')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_release_is_opened_in_place_and_counted(own_house: House, truth: tuple[int, str], engine: str) -> None:
    exchange = own_house.mini.exchange
    assert checksum(frame(lakehouse.open(TRAFFIC, as_=engine, exchange=exchange))) == truth
    first = lakehouse.open(f"{TRAFFIC}@0001", as_=engine, exchange=exchange, partitions=lambda day: day < "2024-10-03")
    assert len(frame(first)) == 96
    none = frame(lakehouse.open(TRAFFIC, as_=engine, exchange=exchange, partitions=lambda day: False))
    assert (len(none), list(none.columns)) == (0, ["road", "hour_utc", "sensors", "vehicles", "vehicles_mean"])
    [row] = usage_statement(exchange)
    assert (row["door"], row["recipient"], row["requests"]) == ("open", "(staff)", 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_release_is_opened_over_the_doors_with_a_token(
    own_house: House, address: str, truth: tuple[int, str], engine: str, tmp_path: Path
) -> None:
    own_house.set_access("agreement")
    options = {"at": address, "token": own_house.readers.tokens["right"], "cache": tmp_path / "cache", "as_": engine}
    assert checksum(frame(lakehouse.open(f"{TRAFFIC}@v1", **options))) == truth
    own_house.doors.meter.flush()
    [before] = usage_statement(own_house.mini.exchange)
    assert (before["recipient"], before["rows"]) == ("right", truth[0])
    assert checksum(frame(lakehouse.open(f"{TRAFFIC}@0001", **options))) == truth
    own_house.doors.meter.flush()
    [after] = usage_statement(own_house.mini.exchange)
    assert after["rows"] == before["rows"]
    assert len(list((tmp_path / "cache").iterdir())) == 30


def test_what_may_not_be_opened_is_refused_with_the_doors_own_words(
    own_house: House, address: str, tmp_path: Path
) -> None:
    own_house.set_access("registered")
    with pytest.raises(CannotOpen, match="is read with a token"):
        lakehouse.open(TRAFFIC, at=address, cache=tmp_path)
    with pytest.raises(CannotOpen, match="ended on"):
        lakehouse.open(TRAFFIC, at=address, cache=tmp_path, token=own_house.readers.tokens["expired"])
    with pytest.raises(NoSuchRelease, match=f"released are: {TRAFFIC}, {WATER}"):
        lakehouse.open("none", at=address)
    with pytest.raises(NoSuchRelease, match="has no release '0009'; there are: 0001-"):
        lakehouse.open(f"{WATER}@0009", at=address)
    with pytest.raises(CannotOpen, match="no answer from the doors"):
        lakehouse.open(WATER, at="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="'duckdb', 'polars' or 'arrow'"):
        lakehouse.open(WATER, as_="pandas")


def test_what_is_not_as_the_exchange_signed_it_is_not_opened(own_house: House, address: str, tmp_path: Path) -> None:
    manifest, lake = own_house.mini.latest(TRAFFIC), own_house.mini.exchange.lake
    key = lake.read_bytes("marts", f"keys/{manifest.signed_with}.pem")
    (tmp_path / "key.pem").write_bytes(key)
    options = {"at": address, "cache": tmp_path / "cache"}
    assert lakehouse.open(TRAFFIC, key=tmp_path / "key.pem", **options)
    # Another key of the exchange, for which the one that signed vouches.
    rotate_signing(own_house.mini.exchange)
    (tmp_path / "next.pem").write_bytes(pem_of(signing_key(own_house.mini.exchange).public_key()))
    assert lakehouse.open(TRAFFIC, key=tmp_path / "next.pem", **options)
    assert own_house.client.get(f"/marts/keys/{manifest.signed_with}.pem.by-0000.sig").status_code == 404
    file = manifest.files[4]
    damaged = bytearray(lake.read_bytes("marts", f"{manifest.prefix}/{file.path}"))
    damaged[100] ^= 1
    lake.write_bytes("marts", f"{manifest.prefix}/{file.path}", bytes(damaged))
    with pytest.raises(Untrusted, match="is not what its manifest says"):
        lakehouse.open(TRAFFIC, at=address, cache=tmp_path / "other")
    assert [path for path in (tmp_path / "other").iterdir() if file.sha256 in path.name] == []
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Untrusted, match="the one that you trust is"):
        lakehouse.open(TRAFFIC, key=tmp_path / "key.pem", **options)
    with pytest.raises(Untrusted, match="the one that you trust is"):
        lakehouse.open(TRAFFIC, key=tmp_path / "key.pem", exchange=own_house.mini.exchange)
