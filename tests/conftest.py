"""Fixtures that tests of every room share."""

import os
from collections.abc import Iterator

import pytest

from tests.object_store.server import ObjectServer, Unavailable

pytest.register_assert_rewrite("tests.unit.storage.suite")


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
