"""Every door, each level of access, each reader: one answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from lakehouse.release.withdraw import rollback, yank
from lakehouse.sharing.entitlement import Caller, Denied, Forbidden, Link, entitle
from lakehouse.sharing.meter import usage_statement
from lakehouse.sharing.recipients import (
    RecipientFault,
    add_recipient,
    caller_by_token,
    list_recipients,
    new_token,
    restore_recipients,
    revoke,
    ungrant,
)
from lakehouse.sharing.tables import grants, recipient_tokens, recipients, usage
from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import ADMITTED, FORBIDDEN, LEVELS, House, publish

MART = f"/marts/{TRAFFIC}/v1"
DELTA = f"/delta-sharing/shares/exchange/schemas/v1/tables/{TRAFFIC}"
# Each door by what it is asked; `{release}` and `{file}` are those of the mart.
DOORS = {
    "pointer": f"{MART}/latest.json",
    "releases": f"{MART}/releases.json",
    "manifest": f"{MART}/releases/{{release}}/manifest.json",
    "list of files": f"{MART}/releases/{{release}}/files.txt",
    "file": f"{MART}/releases/{{release}}/{{file}}",
    "file of the newest": f"{MART}/latest/{{file}}",
    "csv": f"{MART}/releases/{{release}}/rows.csv",
    "csv of the newest": f"{MART}/latest/rows.csv?limit=1",
    "delta version": f"{DELTA}/version",
    "delta metadata": f"{DELTA}/metadata",
    "delta query": f"{DELTA}/query",
}
CASES = sorted(ADMITTED["open"] | {"not a token", "wrong", "expired", "revoked"})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_door_lets_in_whom_it_should_and_nobody_else(house: House, door: str, level: str) -> None:
    house.set_access(level)
    manifest = house.mini.latest(TRAFFIC)
    path = DOORS[door].format(release=manifest.release, file=manifest.files[0].path)

    def ask(case: str) -> httpx.Response:
        if path.endswith("/query"):
            return house.client.post(path, json={}, headers=house.readers.headers(case))
        return house.client.get(path, headers=house.readers.headers(case))

    answers = {case: ask(case) for case in house.readers.tokens}
    assert {case for case, answer in answers.items() if answer.status_code == 200} == ADMITTED[level]
    for case, answer in answers.items():
        if case not in ADMITTED[level]:
            assert answer.status_code == (403 if case in FORBIDDEN else 401), case
            assert set(answer.json()) == {"errorCode", "message"}
            assert ("WWW-Authenticate" in answer.headers) is (answer.status_code == 401)


@pytest.mark.parametrize("level", LEVELS)
def test_a_list_shows_what_may_be_read_and_refuses_a_bad_token(house: House, level: str) -> None:
    house.set_access(level)
    for case in house.readers.tokens:
        headers = house.readers.headers(case)
        answer = house.client.get("/delta-sharing/shares/exchange/all-tables", headers=headers)
        if case in ADMITTED["open"]:
            shown = [table["name"] for table in answer.json()["items"]]
            assert shown == ([TRAFFIC, WATER] if case in ADMITTED[level] else [WATER]), case
        else:
            assert answer.status_code == 401, case


def test_all_cases_of_readers_are_tried(house: House) -> None:
    assert sorted(house.readers.tokens) == CASES


def test_the_stricter_of_the_release_and_the_contract_holds(house: House) -> None:
    path = f"{MART}/latest.json"
    assert house.mini.latest(TRAFFIC).access == "open"
    assert house.client.get(path).status_code == 200
    house.set_access("registered")
    assert house.client.get(path).status_code == 401


def test_a_token_is_kept_as_its_hash_alone(house: House) -> None:
    secret = (house.readers.tokens["right"] or "").split("_", 2)[2]
    lake, index = house.mini.exchange.lake, house.mini.exchange.index
    kept = [lake.read_bytes("access", entry.key).decode() for entry in lake.list("access")]
    assert len(kept) == 5
    for table in (recipients, recipient_tokens, grants):
        kept += [str(dict(row)) for row in index.rows(sa.select(table))]
    assert secret
    assert not [text for text in kept if secret in text]
    assert "sha256" not in json.dumps(list_recipients(house.mini.exchange))


def test_rotation_leaves_the_old_token_for_the_overlap(own_house: House) -> None:
    exchange, now = own_house.mini.exchange, datetime.now(UTC)
    old = own_house.readers.tokens["right"] or ""
    made = new_token(exchange, "right", valid=timedelta(days=9), overlap=timedelta(hours=24), now=now)

    def good(text: str, hours: int) -> bool:
        return caller_by_token(exchange, text, now=now + timedelta(hours=hours)).fault is None

    assert (good(old, 23), good(old, 25)) == (True, False)
    assert (good(made.secret, 25), good(made.secret, 24 * 9 + 1)) == (True, False)


def test_what_is_revoked_ends_at_once(own_house: House) -> None:
    own_house.set_access("agreement")
    path, headers = f"{MART}/latest.json", own_house.readers.headers("right")
    assert own_house.client.get(path, headers=headers).status_code == 200
    ungrant(own_house.mini.exchange, "right", mart=TRAFFIC)
    assert own_house.client.get(path, headers=headers).status_code == 403
    revoke(own_house.mini.exchange, "right")
    refused = own_house.client.get(path, headers=headers)
    assert (refused.status_code, "revoked" in refused.json()["message"]) == (401, True)


def test_recipients_that_cannot_be_are_refused(own_house: House) -> None:
    exchange, year = own_house.mini.exchange, timedelta(days=365)
    for name in ("Right", "a/b", "", "-a", "anonymous", "x" * 64):
        with pytest.raises(RecipientFault, match="cannot name"):
            add_recipient(exchange, name, title="", valid=year)
    with pytest.raises(RecipientFault, match="already"):
        add_recipient(exchange, "right", title="", valid=year)
    with pytest.raises(RecipientFault, match="there are: ended, expired, revoked, right, ungranted"):
        revoke(exchange, "nobody")
    with pytest.raises(RecipientFault, match="was revoked"):
        new_token(exchange, "revoked", valid=year)


def test_recipients_come_back_from_the_lake(own_house: House) -> None:
    exchange = own_house.mini.exchange
    before = list_recipients(exchange)
    with exchange.index.begin() as connection:
        for table in (recipients, recipient_tokens, grants):
            connection.execute(sa.delete(table))
    assert caller_by_token(exchange, own_house.readers.tokens["right"] or "", now=datetime.now(UTC)).fault
    assert restore_recipients(exchange) == 5
    assert restore_recipients(exchange) == 0
    assert list_recipients(exchange) == before
    assert caller_by_token(exchange, own_house.readers.tokens["right"] or "", now=datetime.now(UTC)).grants


def test_a_link_opens_what_it_was_made_for_and_nothing_else() -> None:
    link = Link(mart="m", major=1, release="0001-a")
    caller, now = Caller(link=link), datetime.now(UTC)
    entitle(caller, mart="m", major=1, release="0001-a", path="x", access="agreement", now=now)
    for other in ({"release": "0002-b"}, {"major": 2}, {"mart": "n"}, {"release": None}):
        asked = {"mart": "m", "major": 1, "release": "0001-a"} | other
        with pytest.raises(Forbidden):
            entitle(caller, access="open", now=now, **asked)  # type: ignore[arg-type]
    one = Caller(link=Link(mart="m", major=1, release="0001-a", path="x"))
    entitle(one, mart="m", major=1, release="0001-a", path="x", access="registered", now=now)
    with pytest.raises(Forbidden):
        entitle(one, mart="m", major=1, release="0001-a", path="y", access="registered", now=now)
    # Its holder must be allowed to read, too.
    held = Caller(recipient="r", link=Link(mart="m", major=1, release="0001-a", recipient="r"))
    entitle(held, mart="m", major=1, release="0001-a", access="registered", now=now)
    with pytest.raises(Denied):
        entitle(held, mart="m", major=1, release="0001-a", access="agreement", now=now)


def test_every_access_is_metered_and_no_denied_one(own_house: House) -> None:
    manifest = own_house.mini.latest(TRAFFIC)
    file, meter = manifest.files[0], own_house.doors.meter
    path = f"{MART}/releases/{manifest.release}/{file.path}"
    own_house.client.get(path)
    own_house.client.get(path, headers=own_house.readers.headers("right"))
    own_house.client.get(path, headers={**own_house.readers.headers("right"), "Range": "bytes=0-99"})
    own_house.client.get(path, headers=own_house.readers.headers("expired"))
    own_house.client.get(f"{path}.none")
    meter.flush()
    found = usage_statement(own_house.mini.exchange)
    named = [(row["recipient"], row["door"], row["requests"], row["bytes"], row["rows"]) for row in found]
    assert named == [
        (None, "files", 1, file.bytes, file.rows),
        ("right", "files", 2, file.bytes + 100, file.rows),
    ]
    assert {(row["mart"], row["major"], row["release"]) for row in found} == {(TRAFFIC, 1, manifest.release)}
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert usage_statement(own_house.mini.exchange, since=later) == []
    assert usage_statement(own_house.mini.exchange, mart="other") == []


def test_what_the_database_does_not_take_is_not_lost(own_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, meter = own_house.mini.exchange, own_house.doors.meter
    own_house.client.get(f"{MART}/latest.json")
    with monkeypatch.context() as patch:

        def locked() -> None:
            raise sa.exc.OperationalError("insert", {}, Exception("database is locked"))

        patch.setattr(exchange.index, "begin", locked)
        meter.flush()
    assert exchange.index.rows(sa.select(usage)) == []
    own_house.client.get(f"{MART}/latest.json")
    meter.flush()
    [row] = usage_statement(exchange)
    assert row["requests"] == 2
    assert row["first_at"] < row["last_at"]


def test_no_token_and_no_link_is_written_to_a_log(own_house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token = own_house.readers.tokens["right"] or ""
    own_house.client.get(f"{MART}/latest.json?link=secret-link", headers={"Authorization": f"Bearer {token}"})
    own_house.client.get(f"{MART}/latest.json", headers={"Authorization": f"Bearer {token}"})
    lines = [record.getMessage() for record in caplog.records if record.name == "lakehouse.doors"]
    assert [line.split()[0:3] for line in lines] == [
        ["GET", f"{MART}/latest.json", "401"],
        ["GET", f"{MART}/latest.json", "200"],
    ]
    assert lines[1].endswith(" right")
    own_house.client.get("/x%0aGET /forged")
    *_, last = [record.getMessage() for record in caplog.records if record.name == "lakehouse.doors"]
    assert last.startswith("GET /x%0AGET /forged 404 ")
    assert not [line for line in lines if "secret-link" in line or token in line]


def test_a_withdrawn_release_is_gone_from_every_door_and_says_why(own_house: House) -> None:
    exchange, manifest = own_house.mini.exchange, own_house.mini.latest(TRAFFIC)
    paths = [door.format(release=manifest.release, file=manifest.files[0].path) for door in DOORS.values()]
    until = datetime.now(UTC) + timedelta(hours=1)
    signed = own_house.doors.links.sign(Link(mart=TRAFFIC, major=1, release=manifest.release), until=until)
    paths.append(f"{MART}/releases/{manifest.release}/files.txt?link={signed}")

    def ask(path: str) -> httpx.Response:
        return own_house.client.post(path, json={}) if path.endswith("/query") else own_house.client.get(path)

    assert {ask(path).status_code for path in paths} == {200}
    yank(exchange, mart=TRAFFIC, release="0001", by="reviewer", reason="counted twice")
    answers = [ask(path) for path in paths]
    assert {(answer.status_code, answer.json()["errorCode"]) for answer in answers} == {(410, "RESOURCE_WITHDRAWN")}
    named = [answer.json()["message"] for path, answer in zip(paths, answers, strict=True) if manifest.release in path]
    assert all("was yanked" in message and "counted twice" in message for message in named)
    assert TRAFFIC not in own_house.client.get("/marts.json").text
    assert TRAFFIC not in own_house.client.get("/delta-sharing/shares/exchange/all-tables").text
    assert own_house.doors.publications.majors() == [(WATER, 1)]


def test_a_release_that_was_rolled_back_from_is_read_by_its_name_alone(own_house: House) -> None:
    mini, first = own_house.mini, own_house.mini.latest(TRAFFIC)
    second = first.model_copy(update={"release": "0002-feedbeef", "files": first.files[:3]})
    publish(mini, second)
    assert own_house.client.get(f"{MART}/latest.json").json()["release"] == "0002-feedbeef"
    rollback(mini.exchange, mart=TRAFFIC, release="0001", by="reviewer", reason="counted twice")
    assert own_house.client.get(f"{MART}/latest.json").json()["release"] == first.release
    assert own_house.client.get(f"{DELTA}/version").headers["Delta-Table-Version"] == "1"
    assert own_house.client.get(f"{MART}/releases/0002-feedbeef/manifest.json").status_code == 200
    listed = own_house.client.get(f"{MART}/releases.json").json()["releases"]
    assert [(entry["release"], entry["latest"], entry["status"]) for entry in listed] == [
        ("0002-feedbeef", False, "rolled_back"), (first.release, True, "released"),
    ]  # fmt: skip
