"""Death at every call of the lake and the index: a second run ends in the same single release, and a reader never
sees anything but a whole one."""

from pathlib import Path, PurePosixPath

import pytest

from lakehouse.build.run import build
from lakehouse.exchange import Exchange
from lakehouse.release.gate import gate
from lakehouse.release.listing import list_releases, waiting_candidates
from lakehouse.release.manifest import Candidate, read_candidate
from lakehouse.release.promote import promote
from tests.dying import dies_everywhere
from tests.mini_exchange import LATER, TRAFFIC, Mini, read_release
from tests.unit.release.conftest import Stage

pytestmark = pytest.mark.thorough


def gate_and_promote(exchange: Exchange, mini: Mini) -> None:
    """What the release DAG does of each candidate that waits."""
    mart = mini.mart(TRAFFIC)
    for waiting in waiting_candidates(exchange):
        gate(exchange, mart=mart, candidate=waiting["candidate"])
        promote(exchange, mart=mart, candidate=waiting["candidate"])


def promote_alone(exchange: Exchange, mini: Mini) -> None:
    """The part of it without Great Expectations, so that a second run costs next to nothing."""
    for waiting in waiting_candidates(exchange):
        promote(exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])


def the_release(mini: Mini) -> tuple[str, tuple[str, ...]]:
    """The one release that a reader finds and the index lists as the newest, with its files' hashes."""
    manifest = read_release(mini, TRAFFIC)
    assert manifest is not None
    newest = [row["release"] for row in list_releases(mini.exchange) if row["latest"]]
    assert newest == [manifest.release]
    return manifest.release, tuple(file.sha256 for file in manifest.files)


def folders(mini: Mini) -> set[str]:
    keys = (PurePosixPath(entry.key).parts for entry in mini.exchange.lake.list("marts", f"{TRAFFIC}/v1/releases/"))
    return {parts[3] for parts in keys}


def manifests(mini: Mini) -> dict[str, bytes]:
    lake = mini.exchange.lake
    keys = [entry.key for entry in lake.list("marts", f"{TRAFFIC}/v1/") if entry.key.endswith("manifest.json")]
    return {key: lake.read_bytes("marts", key) for key in keys}


@pytest.fixture(params=["first", "second"])
def stage(request: pytest.FixtureRequest, first_stage: Stage, second_stage: Stage) -> Stage:
    return {"first": first_stage, "second": second_stage}[request.param]


@pytest.fixture
def passed(stage: Stage, tmp_path: Path) -> Mini:
    """The candidate passed its gate and waits for its promotion."""
    mini = stage.mini.copy(tmp_path / "passed")
    [waiting] = waiting_candidates(mini.exchange)
    gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])
    return mini


@pytest.fixture
def wanted(passed: Mini, tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    """The release of a run that nothing happened to."""
    mini = passed.copy(tmp_path / "undisturbed")
    promote_alone(mini.exchange, mini)
    return the_release(mini)


def test_a_promotion_that_died_anywhere_is_finished_by_the_next(
    stage: Stage, passed: Mini, wanted: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    before = read_release(passed, TRAFFIC)
    seen: list[str | None] = []

    def again(mini: Mini) -> None:
        standing = read_release(mini, TRAFFIC)
        seen.append(standing.release if standing else None)
        # As the main job goes: a build first, which finds what the dead run left, then the release.
        build(mini.exchange, marts=[TRAFFIC], now=LATER, project=stage.project)
        for waiting in waiting_candidates(mini.exchange):
            gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])
        promote_alone(mini.exchange, mini)
        assert the_release(mini) == wanted
        assert folders(mini) == {wanted[0]} | ({before.release} if before else set())
        assert len(list_releases(mini.exchange)) == len(folders(mini))
        assert waiting_candidates(mini.exchange) == []
        summary = build(mini.exchange, marts=[TRAFFIC], now=LATER, project=stage.project)
        assert summary.unchanged == {TRAFFIC: "no input has changed since its last release"}

    deaths = dies_everywhere(tmp_path, passed.copy, promote_alone, again)
    assert deaths > 15
    # The pointer moved once, and never back.
    assert set(seen) == {before.release if before else None, wanted[0]}
    assert seen == sorted(seen, key=lambda release: release == wanted[0])


def test_the_release_dag_alone_finishes_it_and_keeps_the_manifest_that_stands(
    passed: Mini, wanted: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    found: list[dict[str, bytes]] = []

    def again(mini: Mini) -> None:
        before = manifests(mini)
        found.append(before)
        promote_alone(mini.exchange, mini)
        assert the_release(mini) == wanted
        assert {key: manifests(mini)[key] for key in before} == before

    dies_everywhere(tmp_path, passed.copy, promote_alone, again)
    assert len(found[0]) < len(found[-1])


def test_a_gate_that_died_anywhere_is_passed_again(second_stage: Stage, tmp_path: Path) -> None:
    def gate_alone(exchange: Exchange, mini: Mini) -> None:
        for waiting in waiting_candidates(exchange):
            gate(exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])

    def again(mini: Mini) -> None:
        gate_and_promote(mini.exchange, mini)
        release, _ = the_release(mini)
        assert release.startswith("0002-")
        pages = {entry.key.split("/")[2] for entry in mini.exchange.lake.list("reports", f"{TRAFFIC}/{release}/")}
        assert pages == {"diff", "index.html", "results.json"}

    assert dies_everywhere(tmp_path, second_stage.mini.copy, gate_alone, again) > 5


def test_a_build_that_died_anywhere_is_built_again_to_the_same_candidate(stage: Stage, tmp_path: Path) -> None:
    def facts(made: Candidate) -> dict[str, object]:
        return made.model_dump(exclude={"created_at", "seconds"})

    [waiting] = waiting_candidates(stage.mini.exchange)
    wanted = facts(read_candidate(stage.mini.exchange, mart=TRAFFIC, candidate=waiting["candidate"]))

    entries = stage.unbuilt.exchange.lake.list("candidates", f"{TRAFFIC}/")
    standing = {PurePosixPath(entry.key).parts[1] for entry in entries}

    def work(exchange: Exchange, _: Mini) -> None:
        build(exchange, marts=[TRAFFIC], now=LATER, project=stage.project)

    def again(mini: Mini) -> None:
        work(mini.exchange, mini)
        assert waiting_candidates(mini.exchange) == [waiting]
        assert facts(read_candidate(mini.exchange, mart=TRAFFIC, candidate=waiting["candidate"])) == wanted
        names = {PurePosixPath(entry.key).parts[1] for entry in mini.exchange.lake.list("candidates", f"{TRAFFIC}/")}
        assert names == standing | {waiting["candidate"]}

    assert dies_everywhere(tmp_path, stage.unbuilt.copy, work, again) > 8
