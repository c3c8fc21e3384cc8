"""A release built again from its inputs: equal to the byte, or told to be otherwise with the reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse import cli
from lakehouse.build.dbt import DbtProject
from lakehouse.build.environment import environment_of
from lakehouse.build.rebuild.run import OtherCode, rebuild
from lakehouse.build.rebuild.scratch import contract_of_version
from lakehouse.build.rebuild.wanted import Rebuilt, together, wanted_of
from lakehouse.erasure.erase import erase
from lakehouse.privacy.ledger import entries
from lakehouse.release.manifest import Manifest
from lakehouse.settings import PROJECT
from lakehouse.storage.index import deliveries
from tests.mini_exchange import COUNTS, READINGS, TRAFFIC, WATER, Mini, readings, traffic
from tests.noisy_mart import NOISY, add_noisy_mart

DAYS = 3


@pytest.fixture(scope="module")
def small_once(parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """Both marts have their first release, of three days of traffic and two months of readings."""
    mini = Mini.make(tmp_path_factory.mktemp("small"))
    mini.fill(days=3)
    mini.build(project=parsed)
    mini.release()
    return mini


@pytest.fixture
def small(small_once: Mini, tmp_path: Path) -> Mini:
    return small_once.copy(tmp_path / "small")


@pytest.fixture(scope="module")
def again_once(small_once: Mini, parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """A second release of each: a day corrected and one added; the private months stand, whatever came late."""
    mini = small_once.copy(tmp_path_factory.mktemp("again"))
    mini.deliver(COUNTS, "late.csv", [*traffic(date(2024, 10, 2), more=1), *traffic(date(2024, 11, 2))[1:]])
    mini.deliver(READINGS, "later.csv", readings(date(2024, 10, 20), date(2025, 1, 2), more=3))
    mini.build(project=parsed)
    mini.release()
    return mini


@pytest.fixture
def again(again_once: Mini, tmp_path: Path) -> Mini:
    return again_once.copy(tmp_path / "again")


def state(mini: Mini) -> dict[str, str]:
    """Every object of the lake."""
    return {
        f"{bucket.name}/{entry.key}": entry.version
        for bucket in (mini.root / "lake").glob("[a-z]*")
        for entry in mini.exchange.lake.list(bucket.name, "")
    }


def unequal(found: list[Rebuilt]) -> list[tuple[str, str | None]]:
    return [(entry.file, entry.why) for entry in found if not entry.equal]


@pytest.mark.parametrize("threads", [1, 2])
def test_two_releases_are_equal_byte_for_byte_and_nothing_is_changed(again: Mini, threads: int) -> None:
    manifests = [again.latest(TRAFFIC), again.latest(WATER)]
    assert [manifest.release[:4] for manifest in manifests] == ["0002", "0002"]
    before = state(again)
    found = rebuild(again.exchange, manifests, threads=threads)
    assert unequal(found) == []
    assert {(entry.mart, entry.file, entry.expected) for entry in found} == {
        (manifest.mart, file.path, file.sha256) for manifest in manifests for file in manifest.files
    }
    assert len([entry for entry in found if entry.mart == TRAFFIC]) == DAYS + 1
    # Carried over and built anew, of a private mart too: its months stand, though later readings bear on them.
    assert len(wanted_of(again.exchange, manifests[1])) == 2
    assert state(again) == before
    assert list((again.root / "home" / "work").glob("*-*")) == []


def test_a_private_month_is_built_from_what_was_known_when_it_was_published(again: Mini) -> None:
    """Else late readings, which its policy keeps out, would be in it."""
    [first, second] = sorted(wanted_of(again.exchange, again.latest(WATER)), key=lambda entry: entry.files[0].partition)
    assert first.inputs.keys() < second.inputs.keys() | {*first.inputs}
    stated = [file.model_copy(update={"deliveries": tuple(second.inputs)}) for file in again.latest(WATER).files]
    other = again.latest(WATER).model_copy(update={"files": tuple(stated)})
    assert unequal(rebuild(again.exchange, [other], built_by=first.candidate))


def test_a_file_that_is_not_what_its_inputs_give_is_found(small: Mini) -> None:
    manifest = small.latest(TRAFFIC)
    files = [
        file.model_copy(update={"sha256": "0" * 64}) if file.partition == "2024-10-03" else file
        for file in manifest.files
    ]
    found = rebuild(small.exchange, [manifest.model_copy(update={"files": tuple(files)})])
    assert unequal(found) == [("day=2024-10-03/part-0.parquet", None)]


def test_bytes_of_raw_that_were_changed_are_not_landed(small: Mini) -> None:
    manifest = small.latest(TRAFFIC)
    rows = small.exchange.index.rows(sa.select(deliveries).where(deliveries.c.file == "2024-10-03.csv"))
    path = small.exchange.lake.local_path("raw", rows[0]["raw_key"])
    assert path is not None
    content = path.read_bytes().replace(b",1", b",3")
    path.unlink()
    path.write_bytes(content)
    [(file, why)] = unequal(rebuild(small.exchange, [manifest]))
    assert file == "day=2024-10-03/part-0.parquet"
    assert why is not None
    assert "holds other bytes than were delivered" in why


def test_with_a_person_erased_it_cannot_be_equal_and_says_why(small: Mini) -> None:
    contract = small.exchange.contract(READINGS)
    erase(small.exchange, contract, subject="meter-north-0", reason="asked for it")
    found = unequal(rebuild(small.exchange, [small.latest(WATER)]))
    assert {why for _, why in found} == {
        "rows of a person were erased from readings.csv, so nothing made of it can be equal any more"
    }


def test_noise_is_not_drawn_again_and_nothing_is_charged(small: Mini) -> None:
    add_noisy_mart(small)
    assert small.build([NOISY]).failed == {}
    small.release()
    ledger, draws = entries(small.exchange), {key for key in state(small) if key.startswith("privacy/")}
    manifest = small.latest(NOISY)
    assert unequal(rebuild(small.exchange, [manifest])) == []
    assert entries(small.exchange) == ledger
    assert {key for key in state(small) if key.startswith("privacy/")} == draws
    # Without the draw new noise comes out, and it is told from the old.
    for key in draws:
        if key.startswith("privacy/draws/") and "/2024-09/" in key:
            small.exchange.lake.delete("privacy", key.removeprefix("privacy/"))
    found = dict(unequal(rebuild(small.exchange, [manifest])))
    assert (
        found["month=2024-09/part-0.parquet"]
        == "its true counts are not those of the release, for which noise was drawn"
    )
    assert entries(small.exchange) == ledger


def test_other_code_is_refused_in_words_and_tried_on_demand(
    small: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small.edit(f"{TRAFFIC}.sql", "sum(", "1 + sum(")
    with pytest.raises(
        OtherCode,
        match=r"not the same are the code \(then unversioned, now unversioned\), and it was built outside git",
    ):
        rebuild(small.exchange, [small.latest(TRAFFIC)])
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(small.exchange.settings, name)))
    monkeypatch.setattr(sys, "argv", ["exchange", "rebuild", TRAFFIC, "--code", "current", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert len(said) == DAYS
    assert {entry["equal"] for entry in said} == {False}
    assert {entry["why"] for entry in said} == {"the mart's code is not the one that it was built by"}
    assert said[0].keys() >= {"file", "expected", "found", "equal"}


def test_the_pins_are_part_of_it(small: Mini) -> None:
    manifest = small.latest(TRAFFIC)
    environment = environment_of(small.exchange.settings)
    assert manifest.environment == environment
    made = f"{TRAFFIC}/{manifest.candidate}/candidate.json"
    said = json.loads(small.exchange.lake.read_bytes("candidates", made))
    said["environment"] |= {"duckdb": "1.4.0", "requirements": "0" * 64}
    small.exchange.lake.write_bytes("candidates", made, json.dumps(said).encode())
    with pytest.raises(
        OtherCode, match=rf"the pins in requirements.txt \(duckdb then 1.4.0, now {environment.duckdb}\)"
    ):
        rebuild(small.exchange, [manifest])


def test_the_code_at_the_commit_is_taken_from_git(small: Mini) -> None:
    """The mart and a contract are others now; the release is built by those of its commit."""
    project = small.root / "project"

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)

    shutil.copy(PROJECT / "requirements.txt", project)
    (project / ".gitignore").write_text("staging/\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "as it was")
    small.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 2), more=1))
    small.build([TRAFFIC])
    small.release()
    manifest = small.latest(TRAFFIC)
    assert manifest.environment is not None
    assert (manifest.environment.commit, manifest.environment.dirty) == (manifest.code_version, False)
    small.edit(f"{TRAFFIC}.sql", "sum(", "1 + sum(")
    small.edit("traffic_counts.odcs.yaml", "version: 1.0.0", "version: 1.1.0")
    git("commit", "-qam", "another")
    assert contract_of_version(small.exchange, COUNTS, "1.0.0").version == "1.0.0"
    with pytest.raises(
        LookupError, match="read by version 9.9.9 of its contract, which stands neither here nor in git"
    ):
        contract_of_version(small.exchange, COUNTS, "9.9.9")
    assert unequal(rebuild(small.exchange, [manifest], built_by=manifest.candidate)) == []
    assert (
        subprocess.run(["git", "-C", str(project), "worktree", "list"], capture_output=True, text=True).stdout.count(
            "\n"
        )
        == 1
    )


def test_deliveries_that_two_versions_of_a_contract_read_are_landed_apart(small: Mini) -> None:
    def versioned(manifest: Manifest, version: str) -> Any:
        [entry] = wanted_of(small.exchange, manifest)
        inputs = {name: made.model_copy(update={"contract_version": version}) for name, made in entry.inputs.items()}
        return type(entry)(**{**vars(entry), "inputs": inputs})

    one, other = (versioned(small.latest(TRAFFIC), version) for version in ("1.0.0", "2.0.0"))
    water = versioned(small.latest(WATER), "1.0.0")
    assert [[entry.mart for entry in group] for group in together([one, other, water])] == [[TRAFFIC, WATER], [TRAFFIC]]
