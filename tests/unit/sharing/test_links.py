"""Signed links: what they open, until when, and how they end."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from lakehouse.sharing.entitlement import Link
from lakehouse.sharing.links import BadLink, Links
from lakehouse.sharing.meter import usage_statement
from lakehouse.sharing.recipients import revoke
from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import LEVELS, House

MART = f"/marts/{TRAFFIC}/v1"


@pytest.mark.parametrize("level", LEVELS)
def test_a_link_of_the_exchange_opens_its_release_at_any_level(own_house: House, level: str) -> None:
    own_house.set_access(level)
    release, links = own_house.mini.latest(TRAFFIC), own_house.doors.links
    until = datetime.now(UTC) + timedelta(hours=1)
    signed = links.sign(Link(mart=TRAFFIC, major=1, release=release.release), until=until)
    folder = f"{MART}/releases/{release.release}"
    listed = own_house.client.get(f"{folder}/files.txt?link={signed}")
    assert len(listed.text.split()) == 30
    for url, file in zip(listed.text.split()[:3], release.files, strict=False):
        assert hashlib.sha256(own_house.client.get(url).content).hexdigest() == file.sha256
    assert own_house.client.get(f"{folder}/rows.csv?limit=1&link={signed}").status_code == 200
    other = own_house.mini.latest(WATER).release
    assert own_house.client.get(f"/marts/{WATER}/v1/releases/{other}/files.txt?link={signed}").status_code == 403
    ended = links.sign(Link(mart=TRAFFIC, major=1, release=release.release), until=datetime.now(UTC))
    for broken in (
        ended,
        f"{signed}x",
        signed[3:],
        f"{signed[:10]}{'A' if signed[10] != 'A' else 'B'}{signed[11:]}",
        "x",
    ):
        refused = own_house.client.get(f"{folder}/files.txt?link={broken}")
        assert (refused.status_code, refused.json()["errorCode"]) == (401, "UNAUTHENTICATED")


def test_a_changed_key_ends_every_link_in_every_process(own_house: House) -> None:
    exchange, links = own_house.mini.exchange, own_house.doors.links
    until, now = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC)
    link = Link(mart=TRAFFIC, major=1, release="0001-a", path="x", recipient="r", door="d")
    signed = links.sign(link, until=until)
    assert Links(exchange).read(signed, now=now) == link
    assert [Links(exchange).end_all(), Links(exchange).end_all()] == [2, 3]
    with pytest.raises(BadLink, match="ended all links"):
        links.read(signed, now=now)
    assert links.read(links.sign(link, until=until), now=now) == link
    with pytest.raises(BadLink, match="run out"):
        links.read(links.sign(link, until=until), now=until)


def test_who_may_read_a_release_gets_a_link_that_ends_with_their_right(own_house: House) -> None:
    own_house.set_access("agreement")
    release = own_house.mini.latest(TRAFFIC).release
    ask, right = f"{MART}/releases/{release}/links", own_house.readers.headers("right")
    assert own_house.client.post(ask).status_code == 401
    assert own_house.client.post(ask, headers=own_house.readers.headers("without agreement")).status_code == 403
    made = own_house.client.post(f"{ask}?hours=2", headers=right)
    assert made.status_code == 201
    expires = datetime.fromisoformat(made.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < expires <= timedelta(hours=2)
    url = made.json()["url"]
    file = own_house.client.get(url).text.split()[0]
    assert own_house.client.get(file).status_code == 200
    assert own_house.client.post(f"{ask}?link={url.split('link=')[1]}").status_code == 403
    for wrong in ("hours=0", "hours=100000", "hours=x"):
        assert own_house.client.post(f"{ask}?{wrong}", headers=right).status_code == 400
    assert own_house.client.post(f"{ask}?path=none", headers=right).status_code == 404
    revoke(own_house.mini.exchange, "right")
    assert own_house.client.get(file).status_code == 401
    own_house.doors.meter.flush()
    assert {(row["door"], row["recipient"]) for row in usage_statement(own_house.mini.exchange)} == {("link", "right")}


def test_a_link_to_one_file_opens_no_other(own_house: House) -> None:
    own_house.set_access("registered")
    manifest = own_house.mini.latest(TRAFFIC)
    first, second = (file.path for file in manifest.files[:2])
    folder = f"{MART}/releases/{manifest.release}"
    headers = own_house.readers.headers("right")
    url = own_house.client.post(f"{folder}/links", params={"path": first}, headers=headers).json()["url"]
    signed = url.split("link=")[1]
    assert own_house.client.get(url).status_code == 200
    for other in (second, "files.txt", "manifest.json", "rows.csv"):
        assert own_house.client.get(f"{folder}/{other}?link={signed}").status_code == 403
    own_house.set_access("open")
    assert own_house.client.get(f"{folder}/{second}?link={signed}").status_code == 403
