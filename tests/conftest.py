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


class SharedTests(LoadScopeScheduling):
    """Two processes share the tests: one runs those that start servers, which wait more than they compute and
    share a finished main job, the other begins with the rest, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return "integration" if nodeid.startswith("tests/integration/") else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedTests:
    return SharedTests(config, log)


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
