"""What a contract may and may not say of an extract."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lakehouse.contracts.extract import ExtractArguments

GOOD: dict[str, Any] = {
    "connector": "paged_json_api",
    "path": "/dataset/Elspotprices",
    "parameters": {"timezone": "utc", "sort": "HourUTC asc,PriceArea asc"},
}


def validate(given: dict[str, Any]) -> ExtractArguments:
    return TypeAdapter[ExtractArguments](ExtractArguments).validate_python(given)


def test_defaults_are_those_of_the_energi_data_service() -> None:
    extract = validate(GOOD)
    assert (extract.records, extract.total, extract.time_format) == ("records", "total", "%Y-%m-%dT%H:%M")
    assert (extract.page_size, extract.attempts, extract.timeout_seconds) == (10_000, 5, 30)
    assert extract.max_requests_per_second is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"connector": "carrier_pigeon"}, "paged_json_api"),
        ({"pagesize": 10}, "Extra inputs are not permitted"),
        ({"path": "dataset/Elspotprices"}, "pattern"),
        ({"path": "//elsewhere.example/dataset"}, "pattern"),
        ({"path": "/dataset/Elspotprices?limit=5"}, "pattern"),
        ({"page_size": 0}, "greater than 0"),
        ({"attempts": 0}, "greater than 0"),
        ({"max_requests_per_second": 0}, "greater than 0"),
        ({"parameters": {"timezone": "utc"}}, "parameters must hold 'sort'"),
        ({"parameters": {"sort": "HourUTC", "limit": "5"}}, "parameters limit are set by the connector"),
        ({"end_parameter": "start"}, "four different parameters"),
    ],
)
def test_a_fault_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        validate(GOOD | change)


TABLE: dict[str, Any] = {"connector": "sql_table", "table": "readings", "key": ["id"], "mode": "by_key"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (TABLE | {"mode": "by_change_time"}, "changed_at names the column"),
        (TABLE | {"changed_at": "changed"}, "changed_at names the column"),
        (TABLE | {"window_days": 1}, "window_days cuts an interval"),
        ({"connector": "s3_bucket", "window_days": 1}, "window_days cuts an interval"),
        (TABLE | {"key": []}, "at least 1"),
        ({"connector": "sql_interval", "table": "readings", "key": ["id"]}, "time\n.*Field required"),
        ({"connector": "sftp", "host_key": "AAAAC3Nza"}, "pattern"),
        ({"connector": "s3_bucket", "prefix": "out/"}, "Extra inputs"),
    ],
)
def test_a_fault_of_a_stores_arguments_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        validate(given)
