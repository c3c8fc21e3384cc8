"""Fixtures that tests of every room share."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.object_store.server import ObjectServer, Unavailable

# Tables are printed as wide as a terminal is; tests read them whole, under whatever they run.
os.environ["COLUMNS"] = "200"
pytest.register_assert_rewrite("tests.unit.storage.suite")

INTEGRATION = Path(__file__).parent / "integration"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Two processes share the tests: one runs those that start servers, which wait more than they compute and
    share a finished main job, the other begins with the rest, file by file."""
    for item in items:
        group = "integration" if INTEGRATION in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


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
