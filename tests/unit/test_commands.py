"""The commands themselves: what they refuse, and what programs read of them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse import cli
from lakehouse.build.dbt import DbtProject
from lakehouse.lineage.store import kept
from lakehouse.release.listing import list_releases
from lakehouse.release.withdraw import yank
from lakehouse.sharing.links import BadLink, Links
from lakehouse.sharing.meter import Meter, Taken, usage_statement
from tests.mini_exchange import COUNTS, FIRST_DAY, READINGS, TRAFFIC, WATER, Mini, traffic


@pytest.fixture
def at(released: Mini, monkeypatch: pytest.MonkeyPatch) -> Mini:
    """The commands' exchange is this one."""
    settings = released.exchange.settings
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(settings, name)))
    return released


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `exchange` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["exchange", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_command_loads_what_it_needs_and_no_more() -> None:
    """Every command would wait for them, and so would everybody who follows a guide."""
    heavy = {"numpy", "pyarrow", "pandas", "polars", "opendp", "highspy", "httpx", "jinja2", "boto3"}
    code = "import sys, lakehouse.cli; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "lakehouse.cli" in ran.stdout.split()
    assert not heavy & set(ran.stdout.split())


def test_what_cannot_be_done_is_told_without_a_traceback(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = at.root / "file"
    file.write_text("no folder")
    for asked in (
        ("get", TRAFFIC, "--to", str(file)),
        ("diff", TRAFFIC, "0001", "0001", "--to", str(file / "deeper")),
        ("export", TRAFFIC, str(file / "a.csv")),
        ("scorecard", "city", "--html", str(file / "a.html")),
    ):
        assert run(monkeypatch, *asked) == 2
        assert "nothing can be written to" in capsys.readouterr().err
    for asked in (("pin", f"{TRAFFIC}@0001"), ("yank", f"{TRAFFIC}@0001"), ("rollback", TRAFFIC, "0001")):
        assert run(monkeypatch, *asked, "--reason", " ") == 2
        assert "say why" in capsys.readouterr().err
    for subject, reason, told in ((" ", "asked", "name the person"), ("meter-north-1", "of meter-north-1", "without")):
        assert run(monkeypatch, "erase", READINGS, "--subject", subject, "--reason", reason) == 2
        assert told in capsys.readouterr().err
    assert run(monkeypatch, "erase", READINGS, "--subject", "1", "--reason", "case 17 of 2024", "--dry-run") == 0
    manifest = at.latest(TRAFFIC)
    (at.root / "lake" / "marts" / manifest.prefix / manifest.files[0].path).unlink()
    assert run(monkeypatch, "export", TRAFFIC, str(at.root / "a.csv")) == 1
    assert "No files found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("THREADS", "many", "a valid integer"),
        ("INBOX_EVENTS", "127.0.0.1:8090", "http://<triggerer>:<port>"),
        ("INBOX_EVENTS", "https://127.0.0.1:8090", "http://<triggerer>:<port>"),
        ("INBOX_EVENTS", "http://127.0.0.1", "http://<triggerer>:<port>"),
        ("INBOX_EVENTS", "http://127.0.0.1:bell", "http://<triggerer>:<port>"),
        ("INBOX_EVENTS", "http://127.0.0.1:8090/bell", "http://<triggerer>:<port>"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"EXCHANGE_{name}", value)
    assert run(monkeypatch, "receipts") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"EXCHANGE_{name}: ")
    assert told in line


def test_private_rows_are_shown_to_staff_alone(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("history", READINGS, "--where", "meter_id=meter-north-1", "--json")
    assert run(monkeypatch, *asked) == 2
    refused = capsys.readouterr()
    assert (refused.out, "for staff of the exchange alone" in refused.err) == ("", True)
    assert run(monkeypatch, *asked, "--private") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 62
    assert {row["stands"] for row in found} == {True}


def test_the_release_that_was_the_newest_at_a_time_is_told(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [first] = list_releases(at.exchange, mart=TRAFFIC)
    created = at.latest(TRAFFIC).created_at

    def names(*arguments: str) -> list[Any]:
        assert run(monkeypatch, "releases", TRAFFIC, "--json", *arguments) == 0
        return [row["release"] for row in json.loads(capsys.readouterr().out)]

    assert names("--as-of", created.isoformat()) == [first["release"]]
    assert names("--as-of", (created - timedelta(seconds=1)).isoformat()) == []
    assert run(monkeypatch, "releases", "--as-of", "yesterday") == 2


def test_a_replay_and_its_trial_say_the_same_to_programs(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "replay", COUNTS) == 0
    assert "nothing to replay: version 1.0.0" in capsys.readouterr().out
    at.edit("traffic_counts.odcs.yaml", "{minimum: 0}", "{minimum: 12}")
    at.edit("traffic_counts.odcs.yaml", "version: 1.0.0", "version: 1.1.0")
    assert run(monkeypatch, "replay", COUNTS, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert run(monkeypatch, "replay", COUNTS, "--json") == 0
    assert json.loads(capsys.readouterr().out) == told
    assert (told[0]["before"]["accepted"], told[0]["after"]["accepted"]) == (72, 60)


def test_the_doctor_tells_what_it_would_do_and_does_it(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at.exchange.lake.write_bytes("clean", f"{COUNTS}/event_date=2024-10-01/dead-part-0.parquet", b"left")
    left = at.root / "home" / "work" / "intake-dead"
    left.mkdir(parents=True)
    for trial in (["--dry-run"], []):
        assert left.exists()
        assert run(monkeypatch, "doctor", "--sweep", "--json", *trial) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["clean"] == [f"{COUNTS}/event_date=2024-10-01/dead-part-0.parquet"]
        assert told["work"] == ["intake-dead"]
    assert not left.exists()
    assert run(monkeypatch, "doctor") == 0
    assert "0 problems" in capsys.readouterr().out


def test_a_scorecard_is_of_a_provider_that_there_is(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "city.html"
    assert run(monkeypatch, "scorecard", "city", "--html", str(page)) == 0
    assert "city/traffic_counts" in capsys.readouterr().out
    assert "city/traffic_counts" in page.read_text()
    assert run(monkeypatch, "scorecard", "nowhere") == 2
    assert "there are: city, utility" in capsys.readouterr().err


def test_a_recipient_is_made_granted_rotated_and_revoked(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> Any:
        assert run(monkeypatch, "recipients", *arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    made = told("add", "reader", "--title", "A reader", "--days", "3")
    assert made["token"].startswith("cdx_")
    assert run(monkeypatch, "recipients", "grant", "reader", TRAFFIC, "--terms", "2", "--until", "2099-01-01") == 0
    assert run(monkeypatch, "recipients", "grant", "reader", "no_mart", "--terms", "2") == 2
    assert run(monkeypatch, "recipients", "grant", "reader", TRAFFIC, "--terms", "2", "--until", "2001-01-01") == 2
    assert run(monkeypatch, "recipients", "add", "reader") == 2
    said = capsys.readouterr().err
    assert all(part in said for part in ("no mart 'no_mart'", "2001-01-01 is over", "reader is a recipient already"))
    assert told("rotate", "reader")["token"] != made["token"]
    assert run(monkeypatch, "recipients", "profile", "reader", "--days", "5") == 0
    profile = json.loads(capsys.readouterr().out)
    assert (profile["shareCredentialsVersion"], profile["endpoint"]) == (1, "http://127.0.0.1:8090/delta-sharing/")
    assert profile["bearerToken"].startswith("cdx_")
    assert timedelta(days=4) < datetime.fromisoformat(profile["expirationTime"]) - datetime.now(UTC) < timedelta(days=5)
    assert run(monkeypatch, "recipients", "profile", "anonymous") == 0
    assert json.loads(capsys.readouterr().out)["bearerToken"] == "anonymous"
    assert run(monkeypatch, "recipients", "revoke", "reader") == 0
    capsys.readouterr()
    [state] = told("list")
    assert [(g["mart"], g["terms"], g["until"][:10]) for g in state["grants"]] == [(TRAFFIC, "2", "2099-01-01")]
    assert [bool(token["revoked_at"]) for token in state["tokens"]] == [True, True, True]
    assert run(monkeypatch, "recipients", "list") == 0
    assert "A reader" in capsys.readouterr().out


def test_the_doors_want_both_halves_of_https(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "cert.pem").write_text("")
    assert run(monkeypatch, "serve", "--certificate", str(tmp_path / "cert.pem")) == 2
    assert "both --certificate and --key" in capsys.readouterr().err


def test_a_part_is_written_as_a_file_and_counted(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wanted = ("--where", "road=Vesterbrogade", "--where", "hour_utc.lt=2024-10-02", "--columns", "vehicles,road")
    assert run(monkeypatch, "export", TRAFFIC, str(tmp_path / "part.csv"), *wanted) == 0
    lines = (tmp_path / "part.csv").read_text().splitlines()
    assert (lines[:2], len(lines)) == (['"vehicles","road"', '21,"Vesterbrogade"'], 25)
    assert run(monkeypatch, "export", TRAFFIC, str(tmp_path / "part.xlsx"), "--limit", "5") == 0
    capsys.readouterr()
    for broken in (["x.pdf"], ["x.csv", "--where", "none=1"], ["x.geojson"]):
        assert run(monkeypatch, "export", TRAFFIC, *(broken[:1] and [str(tmp_path / broken[0])]), *broken[1:]) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != "") == ["part.csv", "part.xlsx"]
    found = [(row["door"], row["recipient"], row["rows"]) for row in usage_statement(at.exchange)]
    assert found == [("export", "(staff)", 29)]


def test_a_link_is_made_and_all_are_ended(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "link", TRAFFIC, "--hours", "2", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    release = at.latest(TRAFFIC).release
    assert made["url"].startswith(f"http://127.0.0.1:8090/marts/{TRAFFIC}/v1/releases/{release}/files.txt?link=")
    links, now = Links(at.exchange), datetime.now(UTC)
    assert links.read(made["url"].split("link=")[1], now=now).release == release
    assert run(monkeypatch, "link", TRAFFIC, "--file", "day=2024-10-01/part-0.parquet") == 0
    assert "/day=2024-10-01/part-0.parquet?link=" in capsys.readouterr().out
    assert run(monkeypatch, "link", TRAFFIC, "--file", "none") == 2
    assert run(monkeypatch, "link", TRAFFIC, "--recipient", "none") == 2
    assert run(monkeypatch, "link") == 2
    assert run(monkeypatch, "link", "--end-all") == 0
    with pytest.raises(BadLink):
        links.read(made["url"].split("link=")[1], now=now)


def test_what_was_taken_is_told(at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "ledger", "usage") == 0
    assert "nothing was taken" in capsys.readouterr().out
    meter = Meter(at.exchange)
    meter.count(Taken(door="files", recipient=None, mart=TRAFFIC, major=1, release="0001-a", bytes=1234, rows=7))
    meter.close()
    assert run(monkeypatch, "ledger", "usage", TRAFFIC) == 0
    told = capsys.readouterr().out
    assert all(part in told for part in ("anonymous", "files", "1,234", "0001-a"))
    assert run(monkeypatch, "ledger", "usage", "--since", "2099-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_releases_are_taken_back_and_kept_by_command(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [row] = list_releases(at.exchange, mart=TRAFFIC)
    why = ("--reason", "wrong", "--by", "Ida")
    assert run(monkeypatch, "pin", f"{TRAFFIC}@0001", *why) == 0
    assert run(monkeypatch, "unpin", f"{TRAFFIC}@0001", *why) == 0
    assert run(monkeypatch, "retention") == 0
    assert "files of 0 releases would be removed by --apply" in capsys.readouterr().out
    assert run(monkeypatch, "rollback", TRAFFIC, "0001", *why) == 0
    assert f"the newest is now {row['release']}" in capsys.readouterr().out
    assert run(monkeypatch, "rollback", TRAFFIC, "0009", *why) == 2
    assert run(monkeypatch, "yank", TRAFFIC, *why) == 2
    capsys.readouterr()
    assert run(monkeypatch, "yank", f"{TRAFFIC}@0001", *why, "--json") == 0
    assert json.loads(capsys.readouterr().out)["newest"] is None
    # Consumers are told why, with the status of a refusal; its record can still be looked at.
    assert run(monkeypatch, "get", f"{TRAFFIC}@0001", "--to", str(tmp_path / "to")) == 1
    refused = capsys.readouterr()
    assert f"{TRAFFIC}@{row['release']} was yanked on " in refused.err
    assert "by Ida: wrong" in refused.err
    assert run(monkeypatch, "show", f"{TRAFFIC}@0001") == 0
    capsys.readouterr()
    assert run(monkeypatch, "releases", TRAFFIC, "--json") == 0
    assert [entry["status"] for entry in json.loads(capsys.readouterr().out)] == ["yanked"]
    assert run(monkeypatch, "rollback", TRAFFIC, "0001", *why) == 1


def test_a_candidate_is_approved_and_refused_by_command(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parsed: DbtProject
) -> None:
    assert run(monkeypatch, "candidates") == 0
    assert "no candidate waits" in capsys.readouterr().out

    def waiting(more: int) -> str:
        """A candidate that waits, since the newest release was taken back."""
        yank(at.exchange, mart=TRAFFIC, release=at.latest(TRAFFIC).release, by="r", reason="wrong")
        at.deliver(COUNTS, f"{more}.csv", traffic(FIRST_DAY, more=more))
        at.build([TRAFFIC], project=parsed)
        [outcome] = at.release()
        return str(outcome["candidate"])

    candidate = waiting(1)
    assert run(monkeypatch, "candidates", "--json") == 0
    [told] = json.loads(capsys.readouterr().out)
    assert (told["candidate"], told["status"]) == (candidate, "waiting")
    assert run(monkeypatch, "candidates") == 0
    assert f"exchange approve {TRAFFIC} {candidate} --reason …" in capsys.readouterr().out
    assert run(monkeypatch, "approve", TRAFFIC, candidate, "--reason", " ") == 2
    assert run(monkeypatch, "approve", "nothing", candidate, "--reason", "good") == 2
    assert run(monkeypatch, "approve", TRAFFIC, candidate, "--reason", "good", "--by", "Ida") == 0
    assert f"{TRAFFIC}: released as 0002-" in capsys.readouterr().out
    assert at.latest(TRAFFIC).approved_by == "Ida"
    [event] = kept(at.exchange, datetime.now(UTC).date())
    [output] = event["outputs"]
    assert output["facets"]["version"]["datasetVersion"] == at.latest(TRAFFIC).release

    candidate = waiting(2)
    assert run(monkeypatch, "refuse", TRAFFIC, candidate, "--reason", "still wrong", "--by", "Ida") == 0
    assert f"candidate {candidate} was refused by Ida: still wrong" in capsys.readouterr().out
    # The first answer holds.
    assert run(monkeypatch, "approve", TRAFFIC, candidate, "--reason", "good", "--by", "Bo") == 1
    assert "it had been answered before, through command" in capsys.readouterr().err


def test_a_reviewer_gets_an_address_of_the_desk(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "desk", " ") == 2
    assert run(monkeypatch, "desk", "Ida Reviewer") == 0
    address = capsys.readouterr().out.strip()
    base, pass_ = address.removesuffix("/").split("/desk/")
    assert base == "http://127.0.0.1:8090"
    assert Links(at.exchange).read_desk(pass_, now=datetime.now(UTC)) == "Ida Reviewer"
    with pytest.raises(BadLink, match="has run out"):
        Links(at.exchange).read_desk(pass_, now=datetime.now(UTC) + timedelta(hours=12))


def test_iceberg_tables_are_brought_to_what_is_published(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "iceberg", "--json") == 0
    first = {table["table"]: table for table in json.loads(capsys.readouterr().out)}
    assert first.keys() == {f"marts.{TRAFFIC}_v1", f"marts.{WATER}_v1"}
    release = at.latest(TRAFFIC).release
    assert first[f"marts.{TRAFFIC}_v1"]["added"] == [release]
    assert run(monkeypatch, "iceberg", TRAFFIC) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"marts.{TRAFFIC}_v1: {release}, as it was", f"  {first[f'marts.{TRAFFIC}_v1']['metadata']}"]


def test_the_catalogue_is_written_into_a_folder(
    at: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "catalog", "--to", str(tmp_path / "catalog"), "--json") == 0
    written = {document["document"]: document["bytes"] for document in json.loads(capsys.readouterr().out)}
    assert {"dcat.ttl", "feed.atom", f"{TRAFFIC}/v1/croissant.json"} <= written.keys()
    assert all((tmp_path / "catalog" / name).stat().st_size == size > 0 for name, size in written.items())


def test_what_is_fetched_says_what_it_is_and_whom_to_name(
    at: Mini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "get", TRAFFIC, "--to", str(tmp_path / "to")) == 0
    [folder] = (tmp_path / "to").iterdir()
    assert {"ATTRIBUTION.txt", "croissant.json", "datapackage.json"} <= {path.name for path in folder.iterdir()}
