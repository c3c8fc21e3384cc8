"""Fixtures that tests of every room share."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.object_store.server import ObjectServer, Unavailable

# Tables are printed as wide as a terminal is; tests read them whole, under whatever they run.
os.environ["COLUMNS"] = "200"
pytest.register_assert_rewrite("tests.unit.storage.suite")


# Files whose tests share one finished main job, or measure how soon Airflow answers.
THROUGH_AIRFLOW = {"test_airflow.py", "test_approval.py", "test_guides.py", "test_main_job.py"}
AIRFLOW, SERVERS = "tests of Airflow", "tests of other servers"


def group(nodeid: str) -> str:
    """Tests of one group run in one process, one after the other: their fixtures are made once."""
    file = nodeid.split("::", 1)[0]
    if not file.startswith("tests/integration/"):
        return file
    return AIRFLOW if file.rsplit("/", 1)[1] in THROUGH_AIRFLOW else SERVERS


class SharedTests(LoadScopeScheduling):
    """Two processes share the tests: one begins with those that run through Airflow, the other with those of other
    servers; whichever has ended goes on with the rest, file by file, so that both end at about the same time."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)

    def remove_node(self, node: Any) -> str | None:
        """Of a process that died, files that were done are not handed out again: whoever gets no test of one tells of
        none, is never asked again, and the run would not end."""
        if node in self.assigned_work:
            units = self.assigned_work[node]
            self.assigned_work[node] = {unit: tests for unit, tests in units.items() if not all(tests.values())}
        return super().remove_node(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedTests:
    return SharedTests(config, log)


_ENDED_A_PROCESS: set[str] = set()


def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport) -> None:
    """A test whose process a library ended, once in very many runs, has been put back into the queue, and is judged
    by how it goes then. What ends its process twice has failed."""
    if crashitem not in _ENDED_A_PROCESS:
        _ENDED_A_PROCESS.add(crashitem)
        report.outcome = "rerun"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that only compute give way to those of servers, and all to those that measure how soon Airflow answers."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        yields = {AIRFLOW: 0, SERVERS: 5}.get(group(item.nodeid), 10)
        os.nice(max(0, yields - os.nice(0)))


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """A real S3 server for the whole session; without its packages tests skip, and in CI fail."""
    try:
        server = ObjectServer()
    except Unavailable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    with server:
        yield server
