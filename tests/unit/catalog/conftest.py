"""The catalogue of the small exchange, in which one mart says that it is of high value."""

from pathlib import Path

import pytest

from lakehouse.catalog.entries import Entry, read_entries
from tests.mini_exchange import TRAFFIC, Mini

PLACE = 'spatial: [{name: Copenhagen, uri: "http://publications.europa.eu/resource/authority/place/DNK_CPH"}]'


@pytest.fixture(scope="session")
def catalogued(released_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """Only to be read."""
    mini = released_once.copy(tmp_path_factory.mktemp("catalogued"))
    mini.edit(
        f"{TRAFFIC}.yml", "freshness_hours", f"{PLACE}\n          high_value: mobility\n          freshness_hours"
    )
    return mini


@pytest.fixture(scope="session")
def entries(catalogued: Mini) -> list[Entry]:
    return read_entries(catalogued.exchange)


@pytest.fixture(scope="session")
def shapes() -> Path:
    """The standards' own SHACL shapes, as their publishers have them."""
    folder = Path(__file__).parents[3].parent / "shared" / "shapes"
    if not folder.is_dir():
        pytest.skip("../shared/shapes is absent: the standards' shapes are not kept in the project")
    return folder
