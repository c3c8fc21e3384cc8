"""A small dataset on disk, and the real deliveries where they are."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.sources.loopback import LoopbackApi, LoopbackDataset
from lakehouse.sources.paged_json import PagedJsonConnector
from tests.unit.landing.conftest import House

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "energinet"


@pytest.fixture
def prices(tmp_path: Path) -> LoopbackDataset:
    """48 hours of 2 areas from 2024-01-01T00:00Z in a semicolon csv with decimal commas, newest first."""
    file = tmp_path / "prices.csv"
    first = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [
        f"{first + timedelta(hours=hour):%Y-%m-%d %H:%M:%S};{area};{hour - 3},{hour:02d}0000"
        for hour in reversed(range(48))
        for area in ("DK2", "DK1")
    ]
    file.write_text("\n".join(["HourUTC;PriceArea;SpotPriceEUR", *lines]) + "\n", encoding="utf-8")
    return LoopbackDataset(name="Prices", files=[file], time_column="HourUTC", delimiter=";", decimal=",")


@pytest.fixture
def sleeps() -> list[float]:
    """Seconds of every pause that the connector asked for; none is slept."""
    return []


@pytest.fixture
def connector_to(sleeps: list[float]) -> Callable[..., PagedJsonConnector]:
    """Makes a connector to a loopback server; keywords change its arguments."""

    def make(api: LoopbackApi, **changes: object) -> PagedJsonConnector:
        settings: dict[str, object] = {
            "connector": "paged_json_api",
            "path": "/dataset/Prices",
            "page_size": 40,
            "parameters": {"timezone": "utc", "sort": "HourUTC asc,PriceArea asc"},
        }
        arguments = PagedJsonApi.model_validate(settings | changes)
        return PagedJsonConnector(arguments=arguments, address=api.base_url, sleep=sleeps.append)

    return make


@pytest.fixture(params=["Elspotprices", "ConsumptionDE35Hour"])
def real(request: pytest.FixtureRequest) -> LoopbackDataset:
    """Each of the real deliveries that this API once gave; skips where they are absent."""
    if not REAL.is_dir():
        pytest.skip(f"no real deliveries at {REAL}")
    if request.param == "Elspotprices":
        files = sorted((REAL / "elspot_prices").glob("*.csv"))
        return LoopbackDataset(name="Elspotprices", files=files, time_column="HourUTC", delimiter=";", decimal=",")
    files = sorted((REAL / "consumption_de35_hour").glob("*.parquet"))
    return LoopbackDataset(name="ConsumptionDE35Hour", files=files, time_column="HourUTC")


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An exchange to land in."""
    return House(tmp_path / "house")
