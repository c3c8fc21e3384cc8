"""A city with quirks and a clean one, each written once, and their files as tables of texts."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from lakehouse.simulate.city import City, Written
from lakehouse.simulate.deliveries import simulate

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
Delivered = tuple[City, Path, list[Written]]
Rows = Callable[[Delivered, str, str], list[tuple[object, ...]]]

# Separator, null and header of each dataset's csv.
FORMS: dict[str, dict[str, object]] = {
    "daiad": {"delim": ";"},
    "energinet": {"delim": ";"},
    "dmi": {"nullstr": "NA"},
    "dst": {"delim": ";", "header": False, "encoding": "latin-1"},
}


@pytest.fixture(scope="session")
def quirky(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """Two months' files over the 25-hour day 2024-10-27."""
    city = City(households=300, days=14, start=date(2024, 10, 22))
    out = tmp_path_factory.mktemp("quirky")
    return city, out, simulate(city=city, out=out)


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    city = City(households=120, days=8, start=date(2024, 10, 24), seed=2, quirks=False)
    out = tmp_path_factory.mktemp("clean")
    return city, out, simulate(city=city, out=out)


@pytest.fixture(scope="session")
def spring(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """Over the 23-hour day 2025-03-30."""
    city = City(households=200, days=4, start=date(2025, 3, 28))
    out = tmp_path_factory.mktemp("spring")
    return city, out, simulate(city=city, out=out)


@pytest.fixture
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("the real deliveries (../shared/data) are not here")
    return REAL


def table(connection: duckdb.DuckDBPyConnection, files: list[Path], scratch: Path) -> duckdb.DuckDBPyRelation:
    """The rows of one dataset's files, csv columns as text; zips are unpacked into ``scratch``."""
    plain = []
    for file in files:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                plain += [archive.extract(name, scratch) for name in archive.namelist()]
        else:
            plain.append(str(file))
    if plain[0].endswith(".parquet"):
        return connection.read_parquet(plain)
    if plain[0].endswith(".json"):
        return connection.sql(f"SELECT * FROM read_json({plain!r})")
    form = FORMS.get(files[0].parent.parent.name, {})
    options = "".join(f", {name} = {value!r}" for name, value in form.items())
    return connection.sql(f"SELECT * FROM read_csv({plain!r}, all_varchar = true{options})")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    """Runs a query over ``d``, the rows of a dataset as it was delivered; each is read once."""
    read: dict[tuple[Path, str], duckdb.DuckDBPyRelation] = {}
    with duckdb.connect(":memory:") as connection:

        def run(delivered: Delivered, dataset: str, query: str) -> list[tuple[object, ...]]:
            _, out, written = delivered
            if (out, dataset) not in read:
                files = [one.path for one in written if f"{one.provider}/{one.dataset}" == dataset]
                name = f"t{len(read)}"
                table(connection, files, tmp_path_factory.mktemp("unzipped")).create(name)
                read[out, dataset] = connection.table(name)
            return read[out, dataset].query("d", query).fetchall()

        yield run


def quirks(delivered: Delivered, dataset: str) -> dict[str, int]:
    """What the truth says of a dataset, all files together."""
    total: dict[str, int] = {}
    for one in delivered[2]:
        if f"{one.provider}/{one.dataset}" == dataset:
            total = {kind: total.get(kind, 0) + one.quirks.get(kind, 0) for kind in total | one.quirks}
    return total
