"""What a contract may and may not say of an extract."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.load import ContractError, read_contract
from lakehouse.settings import PROJECT

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
        ({"paging": "cursor"}, "next is missing: paging by cursor"),
        ({"limit_parameter": None}, "limit_parameter is missing"),
        ({"changes": {"parameter": "since", "value": "at"}}, "set start_parameter and end_parameter to null"),
        ({"headers": {"Authorization": "Bearer x"}}, "a secret is given in the environment"),
        ({"headers": {"X-Gravitee-Api-Key": "0000"}}, "a secret is given in the environment"),
        ({"headers": {"Ocp-Apim-Subscription-Key": "0"}}, "a secret is given in the environment"),
        ({"headers": {"X-Functions-Key": "0000"}}, "a secret is given in the environment"),
        ({"path": "/.."}, "'/..' leads up again: write where it leads"),
        ({"path": "/v1/./rows"}, "leads up again"),
        ({"headers": {"X-Name": "a\nb"}}, "a header is one line of plain ASCII"),
        ({"time_format": "%s"}, "writes no day that can be read back"),
        ({"time_format": "%Y-%m"}, "writes no day that can be read back"),
        ({"time_format": "%Y-%m-%d %I:%M"}, "or a time without its hour"),
        ({"time_format": "%Y-%m-%d %M"}, "or a time without its hour"),
        ({"time_format": "%Y-%m-%d %H:%S"}, "or a time without its hour"),
        ({"also_hosts": ["http://files.example.org"]}, "write the host alone, as files.example.org"),
        ({"also_hosts": ["files.example.org:8080"]}, "write the host alone"),
        ({"also_hosts": ["*.example.org"]}, "write the host alone"),
        ({"start_parameter": None, "end_parameter": None, "window_days": 1}, "window_days cuts an interval"),
    ],
)
def test_a_fault_of_a_paged_api_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        validate(GOOD | change)


def test_names_that_only_look_like_those_of_secrets_or_of_the_way_up_are_taken() -> None:
    parameters = {"sort": "at", "key": "1", "code": "2", "app_id": "3", "page_token": "4", "signatures": "5"}
    taken = validate(GOOD | {"path": "/v1../a..b/..c", "parameters": parameters, "headers": {"X-Keyboard": "dk"}})
    assert taken.model_dump()["parameters"] == parameters


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


def test_other_hosts_are_written_as_addresses_have_them() -> None:
    assert validate(GOOD | {"also_hosts": ["Files.Example.org", "10.0.0.7", "FE80::1"]}).also_hosts == (
        "files.example.org",
        "10.0.0.7",
        "fe80::1",
    )


@pytest.mark.parametrize(
    ("form", "bound"),
    [
        ("%Y-%m-%d", datetime(2024, 5, 6)),
        ("%d.%m.%y %H", datetime(2024, 5, 6, 13)),
        ("%Y-%m-%d %I:%M %p", datetime(2024, 5, 6, 13, 45)),
        ("%Y-%jT%H:%M:%S.%f%z", datetime(2024, 5, 6, 13, 45, 30, 7)),
    ],
)
def test_an_interval_begins_and_ends_at_what_its_form_can_write(form: str, bound: datetime) -> None:
    moment = datetime(2024, 5, 6, 15, 45, 30, 7, tzinfo=timezone(timedelta(hours=2)))
    assert validate(GOOD | {"time_format": form}).last_bound(moment) == bound.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"connector": "ckan", "resource_id": "../x"}, "pattern"),
        ({"connector": "ckan", "resource_id": "x", "page_size": 50_000}, "less than or equal to 32000"),
        ({"connector": "ckan", "resource_id": "x", "append_only": True, "sort": "at"}, "take `sort` out"),
        ({"connector": "ogc_features", "collection": "a/b"}, "pattern"),
        ({"connector": "ogc_features", "collection": "a", "bbox": [10.4, 56.3, 9.9, 56.0]}, "lies north of the north"),
        ({"connector": "ogc_features", "collection": "a", "filters": {"limit": "1"}}, "filters limit are set by the"),
        ({"connector": "gbfs", "feed": "Station Status"}, "pattern"),
        ({"connector": "ngsi_ld", "type": "X", "modified_since": True}, "modified_since needs `options: .sysAttrs.`"),
        ({"connector": "http_file", "path": "/{begin:%Y}.csv"}, "write {start:%Y-%m-%d}, or end, or last"),
        ({"connector": "http_file", "path": "/{start}.csv"}, "write {start:%Y-%m-%d}, or end, or last"),
        ({"connector": "http_file", "path": "/{start.year:%Y}.csv"}, "write {start:%Y-%m-%d}, or end, or last"),
        ({"connector": "http_file", "path": "/{start:%Y.csv"}, "unmatched|expected '}'"),
        ({"connector": "http_file", "path": "/.."}, "leads up again"),
        ({"connector": "gtfs", "path": "/a/../.."}, "leads up again"),
        ({"connector": "http_file", "path": "/a.csv", "every": "day"}, "hold a placeholder"),
    ],
)
def test_a_fault_of_other_connectors_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        validate(given)


def test_a_fault_stands_at_its_line_without_the_name_of_the_connector(tmp_path: Path) -> None:
    contract = PROJECT / "contracts" / "oslo_bysykkel" / "station_status.odcs.yaml"
    text = contract.read_text().replace("feed: station_status", "fed: station_status")
    path = tmp_path / "oslo_bysykkel" / contract.name
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ContractError) as caught:
        read_contract(path)
    line = 1 + text.splitlines().index("        fed: station_status")
    faults = {(fault.field, fault.problem, fault.line) for fault in caught.value.faults}
    assert ("exchange.extract.fed", "is not a known key (check the spelling)", line) in faults
