"""An exchange whose doors are open: one mart for anyone, and the same mart at the other two levels of access."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from lakehouse.release.manifest import Manifest, latest_key, number_of
from lakehouse.release.pointer import pointing_at
from lakehouse.release.record import record_release
from lakehouse.release.signing import sign
from lakehouse.sharing.app import create_app
from lakehouse.sharing.doors import Doors
from lakehouse.sharing.recipients import add_recipient, grant, revoke
from tests.mini_exchange import TRAFFIC, Mini

LEVELS = ("open", "registered", "agreement")
TERMS = "2026-01"


@dataclass
class Readers:
    """Who comes to the doors: name of the case to the token that is shown."""

    tokens: dict[str, str | None] = field(default_factory=dict)

    def headers(self, case: str) -> dict[str, str]:
        token = self.tokens[case]
        return {} if token is None else {"Authorization": f"Bearer {token}"}


@dataclass
class House:
    mini: Mini
    client: TestClient
    doors: Doors
    readers: Readers

    def set_access(self, level: str, mart: str = TRAFFIC) -> None:
        path = self.mini.path(f"{mart}.yml")
        text = path.read_text()
        for other in LEVELS:
            text = text.replace(f"access: {other}", f"access: {level}")
        path.write_text(text)


def make_readers(mini: Mini) -> Readers:
    now, exchange = datetime.now(UTC), mini.exchange
    year, long_ago = timedelta(days=365), now - timedelta(days=30)
    right = add_recipient(exchange, "right", title="Right", valid=year)
    grant(exchange, "right", mart=TRAFFIC, terms=TERMS, until=None)
    ungranted = add_recipient(exchange, "ungranted", title="No agreement", valid=year)
    ended = add_recipient(exchange, "ended", title="Agreement ended", valid=year, now=long_ago)
    grant(exchange, "ended", mart=TRAFFIC, terms=TERMS, until=now - timedelta(days=1), now=long_ago)
    expired = add_recipient(exchange, "expired", title="Expired", valid=timedelta(days=1), now=long_ago)
    grant(exchange, "expired", mart=TRAFFIC, terms=TERMS, until=None)
    revoked = add_recipient(exchange, "revoked", title="Revoked", valid=year)
    grant(exchange, "revoked", mart=TRAFFIC, terms=TERMS, until=None)
    revoke(exchange, "revoked")
    return Readers(
        {
            "no token": None,
            "anonymous": "anonymous",
            "not a token": "letmein",
            "wrong": right.secret[:-1] + ("A" if right.secret[-1] != "A" else "B"),
            "expired": expired.secret,
            "revoked": revoked.secret,
            "without agreement": ungranted.secret,
            "agreement ended": ended.secret,
            "right": right.secret,
        }
    )


# Which cases may read, by the mart's level; what the others are answered.
ADMITTED = {
    "open": {"no token", "anonymous", "without agreement", "agreement ended", "right"},
    "registered": {"without agreement", "agreement ended", "right"},
    "agreement": {"right"},
}
FORBIDDEN = {"without agreement", "agreement ended"}


@pytest.fixture(scope="session")
def house_once(released_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    mini = released_once.copy(tmp_path_factory.mktemp("doors"))
    readers = make_readers(mini)
    app = create_app(mini.exchange)
    with TestClient(app) as client:
        yield House(mini, client, app.state.doors, readers)


@pytest.fixture
def house(house_once: House) -> Iterator[House]:
    """Shared; a test leaves it as it was, all open."""
    yield house_once
    house_once.set_access("open")


@pytest.fixture
def own_house(released: Mini) -> Iterator[House]:
    """A test's own, to be changed."""
    readers = make_readers(released)
    app = create_app(released.exchange)
    with TestClient(app) as client:
        yield House(released, client, app.state.doors, readers)


def checksum(frame: pd.DataFrame) -> tuple[int, str]:
    """Rows, and a hash of all of them in the order of the key, whatever types a client makes of them."""
    plain = frame[["road", "hour_utc", "sensors", "vehicles", "vehicles_mean"]].copy()
    plain["hour_utc"] = pd.to_datetime(plain["hour_utc"], utc=True).map(lambda at: at.isoformat())
    plain["vehicles_mean"] = plain["vehicles_mean"].map(lambda value: f"{float(value):.2f}")
    rows = sorted(plain.astype(str).itertuples(index=False, name=None))
    return len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()


@pytest.fixture(scope="session")
def truth(released_once: Mini) -> tuple[int, str]:
    manifest = released_once.latest(TRAFFIC)
    paths = [released_once.exchange.lake.local_path("marts", f"{manifest.prefix}/{f.path}") for f in manifest.files]
    found = checksum(pd.concat([pd.read_parquet(path) for path in paths if path is not None]))
    assert found[0] == manifest.rows
    return found


def publish(mini: Mini, manifest: Manifest) -> None:
    """A release of files that another holds already, as promotion would place it."""
    exchange, base = mini.exchange, mini.latest(manifest.mart)
    for file in manifest.files:
        exchange.lake.copy("marts", f"{base.prefix}/{file.path}", "marts", f"{manifest.prefix}/{file.path}")
    content = manifest.model_dump_json().encode()
    exchange.lake.write_bytes("marts", f"{manifest.prefix}/manifest.json", content)
    sign(exchange, manifest, content)
    pointer = pointing_at(manifest, highest=number_of(manifest.release)).model_dump_json().encode()
    exchange.lake.write_bytes("marts", latest_key(manifest.mart, manifest.major), pointer)
    with exchange.index.begin() as connection:
        record_release(connection, manifest)
