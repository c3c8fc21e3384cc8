"""The live address that follows from a contract's server."""

import pytest

from lakehouse.contracts.odcs import Server


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"type": "api", "location": "https://api.example.org"}, "https://api.example.org"),
        ({"type": "postgresql", "host": "db.example.org", "port": 5432, "database": "town", "schema": "out"}, "postgresql://db.example.org:5432/town?schema=out"),
        ({"type": "mysql", "host": "db.example.org", "database": "a/b?"}, "mysql://db.example.org/a%2Fb%3F"),
        ({"type": "postgres", "host": "db.example.org"}, None),
        ({"type": "sftp", "location": "sftp://files.example.org/out"}, "sftp://files.example.org/out"),
        ({"type": "s3", "location": "s3://open/2024/"}, "s3://open/2024/"),
        ({"type": "s3", "location": "s3://open/2024/", "endpointUrl": "https://s3.example.org/"}, "https://s3.example.org/open/2024/"),
        ({"type": "s3", "endpointUrl": "https://s3.example.org"}, None),
    ],
)  # fmt: skip
def test_a_server_has_one_address_without_a_credential(given: dict[str, object], address: str | None) -> None:
    assert Server.model_validate({"server": "source", **given}).address == address
