"""All settings, from the environment (``EXCHANGE_*``), in one typed class; ``docs/settings.md`` is its table."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Every setting has a default that works on one machine with nothing else installed."""

    model_config = SettingsConfigDict(env_prefix="EXCHANGE_", frozen=True, env_ignore_empty=True)

    project: Path = Field(default=PROJECT, description="folder with contracts/, dbt_project/, expectations/")
    home: Path | None = Field(default=None, description="state of this machine; default .exchange in project")
    lake: str = Field(default="", description="file:///folder or s3://prefix; default file://<project>/lake")
    database: str = Field(default="", description="SQLAlchemy URL of the index; default SQLite in home")
    s3_endpoint: str | None = Field(default=None, description="address of an S3 server that is not AWS's")
    s3_region: str = Field(default="us-east-1", description="region of the S3 server")
    keys: str = Field(
        default="",
        description="secret keys: file:///folder, or wrapped by kms://file/…, kms://env/… or kms://aws/…; default "
        "file://<home>/keys",
    )
    signing_key: SecretStr | None = Field(
        default=None, description="Ed25519 key of signatures: base64, PEM or a file; default one in `keys`"
    )
    inputs: Path | None = Field(default=None, description="folder <provider>/<dataset>/<files> for `run`")
    extracts: Literal["loopback", "live"] = Field(
        default="loopback",
        description="whom extracts ask: a loopback server over the inputs, or the publisher",
    )
    extract_url: str | None = Field(default=None, description="address of the loopback server, set by `run`")
    schedules: bool = Field(default=True, description="whether DAGs run by their schedule")
    marts: str = Field(default="", description="names of the marts to build, with commas; empty for all")
    memory_limit: str = Field(default="2GB", description="DuckDB's memory for one task")
    intake_memory_limit: str = Field(
        default="700MB", description="DuckDB's memory for one intake, which with all else then stays below 2 GB"
    )
    threads: int = Field(default=2, ge=1, description="DuckDB's threads for one task")
    max_unpacked_bytes: int = Field(
        default=50 * 1024**3, gt=0, description="largest size a compressed delivery may unpack to"
    )
    retention_days: int = Field(
        default=90, ge=1, description="days for which every release is kept; after them the last of each month"
    )
    settle_seconds: float = Field(
        default=2, ge=0, description="a file in an inbox is taken once nothing has written to it for so long"
    )
    inbox_poll_seconds: float = Field(
        default=2, gt=0, description="pause between two looks into a provider's inbox, each one request"
    )
    inbox_events: str | None = Field(
        default=None, description="http address at which the triggerer hears of arrivals from a Ceph store"
    )
    publisher: str = Field(default="City Data Exchange", description="who publishes the marts, in the catalogue")
    contact: str = Field(default="data@example.org", description="e-mail address for questions, in the catalogue")
    doors_port: int = Field(default=8090, description="port of the doors under `exchange serve`")
    doors_url: str | None = Field(
        default=None, description="address of the doors as readers know it, where a proxy stands before them"
    )
    doors_redirect_bytes: int | None = Field(
        default=None, ge=0, description="files of at least so many bytes are read from the S3 server itself"
    )
    doors_max_rows: int = Field(
        default=5_000_000, gt=0, description="most rows that the doors give at once as csv, GeoJSON or xlsx"
    )
    airflow_port: int = Field(default=8080, description="port of Airflow's pages under `exchange airflow`")

    @field_validator("inbox_events")
    @classmethod
    def _http_address(cls, url: str | None) -> str | None:
        try:
            parts = urlsplit(url or "")
            good = url is None or (parts.scheme == "http" and parts.port and parts.path in ("", "/"))
        except ValueError:  # no port at all
            good = False
        if not good:
            raise ValueError("is no address as http://<triggerer>:<port>")
        return url

    @cached_property
    def home_path(self) -> Path:
        return (self.home or self.project / ".exchange").absolute()

    @property
    def keys_url(self) -> str:
        return self.keys or (self.home_path / "keys").as_uri()

    @cached_property
    def lake_url(self) -> str:
        return self.lake or (self.project / "lake").absolute().as_uri()

    @cached_property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home_path / 'exchange.db'}"

    @property
    def contracts_path(self) -> Path:
        return self.project / "contracts"

    @property
    def dbt_path(self) -> Path:
        return self.project / "dbt_project"

    @property
    def marts_path(self) -> Path:
        return self.dbt_path / "models" / "marts"

    @property
    def mart_list(self) -> list[str]:
        return [name.strip() for name in self.marts.split(",") if name.strip()]

    @property
    def expectations_path(self) -> Path:
        return self.project / "expectations"


def setting_faults(error: ValidationError) -> list[str]:
    """A line for each variable that has a wrong value; the value may be a secret, and is not repeated."""
    prefix = Settings.model_config["env_prefix"]
    return [
        f"{prefix}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_input=False, include_url=False)
    ]
