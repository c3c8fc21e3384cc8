"""What a contract says of a store of somebody else's: its server, its address, the form of its deliveries."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from lakehouse.contracts.extract_stores import SqlTable
from lakehouse.contracts.load import ContractError, read_contract
from lakehouse.contracts.odcs import Server
from lakehouse.settings import PROJECT
from lakehouse.sources.page import SourceError
from lakehouse.sources.sql_table import SqlConnector


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"type": "api", "location": "https://api.example.org"}, "https://api.example.org"),
        ({"type": "postgresql", "host": "db.example.org", "port": 5432, "database": "town", "schema": "out"}, "postgresql://db.example.org:5432/town?schema=out"),
        ({"type": "mysql", "host": "db.example.org", "port": 3306, "database": "a/b?"}, "mysql://db.example.org:3306/a%2Fb%3F"),
        ({"type": "sqlserver", "host": "db.example.org", "database": "town", "schema": "dbo"}, "sqlserver://db.example.org/town?schema=dbo"),
        ({"type": "api"}, None),
        ({"type": "sftp", "location": "sftp://files.example.org/out"}, "sftp://files.example.org/out"),
        ({"type": "s3", "location": "s3://open/2024/"}, "s3://open/2024/"),
        ({"type": "s3", "location": "s3://open/2024/", "endpointUrl": "https://s3.example.org/"}, "https://s3.example.org/open/2024/"),
    ],
)  # fmt: skip
def test_a_server_has_one_address_without_a_credential(given: dict[str, object], address: str | None) -> None:
    assert Server.model_validate({"server": "source", **given}).address == address


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"type": "postgresql", "host": "db.example.org", "database": "town"}, "needs host, port, database, schema"),
        ({"type": "sftp", "host": "files.example.org"}, "needs location"),
        ({"type": "s3", "endpointUrl": "https://s3.example.org"}, "needs location"),
        ({"type": "api", "location": "https://me:pw@api.example.org"}, "take the credential out of the address"),
        ({"type": "sftp", "location": "sftp://me@files.example.org/"}, "take the credential out of the address"),
        (
            {"type": "api", "location": "https://api.example.org/?tenant=5"},
            "take out of the address what stands behind",
        ),
        ({"type": "api", "location": "https://api.example.org?token=abc"}, "a secret is given in the environment"),
        ({"type": "api", "location": "https://api.example.org/v1#data"}, "take out of the address what stands behind"),
    ],
)
def test_a_server_without_what_the_standard_wants_of_its_type_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Server.model_validate({"server": "source", **given})


def test_a_table_without_parquet_among_the_forms_and_without_a_server_is_refused_with_both_faults(
    tmp_path: Path,
) -> None:
    document = yaml.safe_load((PROJECT / "contracts" / "aarhus" / "parking.odcs.yaml").read_text())
    extension = document["customProperties"][0]["value"]
    extension["extract"] = {"connector": "sql_table", "table": "parking", "key": ["id"], "mode": "full"}
    path = tmp_path / "aarhus" / "parking.odcs.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ContractError) as refused:
        read_contract(path)
    problems = {(fault.field, fault.problem) for fault in refused.value.faults}
    assert problems == {
        ("exchange.delivery.forms", "a table is delivered as Parquet: add {format: parquet}"),
        ("servers", "the extract needs a server of type postgresql or postgres with its live address"),
    }
    document["servers"] = [{"server": "source", "type": "mysql", "host": "h", "port": 3306, "database": "d"}]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ContractError, match="with its live address; of databases only PostgreSQL is read: have"):
        read_contract(path)


def test_a_secret_in_the_query_of_an_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = (PROJECT / "contracts" / "oslo_bysykkel" / "station_status.odcs.yaml").read_text()
    document = yaml.safe_load(text)
    document["servers"][0]["location"] = "https://api.example.org/?token=s3cr3t"
    path = tmp_path / "oslo_bysykkel" / "station_status.odcs.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ContractError, match=r"servers\[0\]: take out of the address.*`parameters`") as refused:
        read_contract(path)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("location", ["ftp://api.example.org", "api.example.org", "https:///v1"])
def test_an_address_that_is_none_of_an_api_is_told_with_its_place(tmp_path: Path, location: str) -> None:
    document = yaml.safe_load((PROJECT / "contracts" / "oslo_bysykkel" / "station_status.odcs.yaml").read_text())
    document["servers"][0]["location"] = location
    path = tmp_path / "oslo_bysykkel" / "station_status.odcs.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ContractError, match=r"servers\[0\].location: .* is no address of an API, as https"):
        read_contract(path)


@pytest.mark.parametrize("kind", ["mysql", "sqlserver"])
def test_another_database_than_postgresql_is_refused_by_its_connector(kind: str) -> None:
    arguments = SqlTable(connector="sql_table", table="t", key=("id",), mode="full")
    with pytest.raises(SourceError, match=f"is a server of type {kind}; of databases only PostgreSQL is read"):
        SqlConnector(arguments=arguments, address=f"{kind}://h:1/d?schema=s", credential=None, columns=["id"])
