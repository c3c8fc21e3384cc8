"""Typed models of a dataset contract: Open Data Contract Standard 3.x, with unknown keys forbidden.

Only the part of the standard that the exchange reads is modelled; what only the exchange knows stands
under ``customProperties`` (see :mod:`lakehouse.contracts.extension`). A contract that these models
accept is also accepted by the standard's own package (a test holds them to it).
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from lakehouse.contracts.extension import DatasetExtension, ParseRule
from lakehouse.contracts.extract_stores import OTHER_DATABASES, READ_DATABASES

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
Name = Annotated[str, StringConstraints(pattern=NAME.pattern)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
LIFTED = "customProperties."
LIFTED_PROPERTIES = ("exchange", "unit", "issuer", "parse", "published_contact")
# Units of time in the standard's words, in hours. A month and what is longer are calendar spans: about so long.
HOURS = {
    "min": 1 / 60, "minutes": 1 / 60, "h": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24, "w": 168,
    "week": 168, "weeks": 168, "m": 730.5, "month": 730.5, "months": 730.5, "quarter": 2191.5, "quarters": 2191.5,
    "a": 8766, "y": 8766, "yr": 8766, "year": 8766, "years": 8766,
}  # fmt: skip
LONGEST_HOURS = 100 * HOURS["years"]
SemanticVersion = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]


class Strict(BaseModel):
    """Unknown keys are faults: a misspelt key must never be read as 'not stated'."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrivacyClass(StrEnum):
    """What a column can reveal of a person; every column states one."""

    PUBLIC = "public"
    QUASI_IDENTIFIER = "quasi_identifier"
    IDENTIFIER = "identifier"
    SENSITIVE = "sensitive"
    FREE_TEXT = "free_text"

    @property
    def private(self) -> bool:
        return self is not PrivacyClass.PUBLIC


class TypeOptions(Strict):
    """Limits on a value, in the standard's own words; inclusive unless the name says exclusive."""

    minimum: Decimal | date | None = None
    maximum: Decimal | date | None = None
    exclusiveMinimum: Decimal | None = None
    exclusiveMaximum: Decimal | None = None
    pattern: str | None = None
    minLength: int | None = None
    maxLength: int | None = None


class Quality(Strict):
    """One rule of the standard. ``severity: warning`` accepts the row and says so on the receipt."""

    name: str | None = None
    type: Literal["library", "sql"] = "library"
    metric: Literal["invalidValues", "nullValues", "rowCount"] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    query: str | None = None
    mustBe: Decimal | None = None
    mustBeLessOrEqualTo: Decimal | None = None
    mustBeGreaterOrEqualTo: Decimal | None = None
    unit: Literal["rows", "percent"] | None = None
    severity: Literal["error", "warning"] = "error"
    description: str | None = None
    dimension: str | None = None


class PropertyCustom(Strict):
    """Facts of a column that only the exchange knows."""

    property: Literal["unit", "issuer", "parse", "published_contact"]
    value: Any


class Column(Strict):
    """One column: where it stands in the delivery (``physicalName``) and what it is in the lake (``name``)."""

    name: Name
    physicalName: str | None = None
    physicalType: str | None = None
    logicalType: Literal["string", "integer", "number", "boolean", "date", "timestamp"]
    logicalTypeOptions: TypeOptions = TypeOptions()
    description: Text
    classification: PrivacyClass
    required: bool = False
    primaryKey: bool = False
    primaryKeyPosition: int | None = None
    businessName: str | None = None
    examples: list[Any] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    quality: list[Quality] = Field(default_factory=list)
    customProperties: list[PropertyCustom] = Field(default_factory=list)
    criticalDataElement: bool | None = None

    unit: str | None = Field(default=None, exclude=True, validation_alias=f"{LIFTED}unit")
    issuer: str | None = Field(default=None, exclude=True, validation_alias=f"{LIFTED}issuer")
    parse: ParseRule = Field(default=ParseRule(), exclude=True, validation_alias=f"{LIFTED}parse")
    # Contacts that an organisation publishes itself are no personal data to be refused.
    published_contact: bool = Field(default=False, exclude=True, validation_alias=f"{LIFTED}published_contact")

    @model_validator(mode="before")
    @classmethod
    def _lift_custom_properties(cls, data: Any) -> Any:
        return _lift(data)

    @property
    def source(self) -> str:
        """The name under which the provider delivers the column."""
        return self.physicalName or self.name


class SchemaObject(Strict):
    name: Name
    physicalName: str | None = None
    physicalType: Literal["table"] = "table"
    logicalType: Literal["object"] = "object"
    businessName: str | None = None
    description: str | None = None
    dataGranularityDescription: str | None = None
    tags: list[str] = Field(default_factory=list)
    properties: list[Column] = Field(min_length=1)
    quality: list[Quality] = Field(default_factory=list)


class Description(Strict):
    purpose: Text
    usage: str | None = None
    limitations: str | None = None


# As the standard has it, where it matters to a connector.
_NEEDED = {
    "postgresql": ("host", "port", "database", "schema_"),
    "postgres": ("host", "port", "database", "schema_"),
    "mysql": ("host", "port", "database"),
    "sqlserver": ("host", "database", "schema_"),
    "sftp": ("location",),
    "s3": ("location",),
}


class Server(Strict):
    """Where the publisher serves the data; for an extract, the live address. Never with a credential."""

    server: Text
    type: Literal["api", "local", "s3", "sftp", "postgresql", "postgres", "mysql", "sqlserver", "custom"]
    description: str | None = None
    environment: str | None = None
    location: str | None = None
    endpointUrl: str | None = None
    format: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None
    schema_: str | None = Field(default=None, alias="schema")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        needed = _NEEDED.get(self.type, ())
        if any(getattr(self, name) is None for name in needed):
            names = ", ".join(name.removesuffix("_") for name in needed)
            raise ValueError(f"a server of type {self.type} needs {names}")
        if any(url and "@" in urlsplit(url).netloc for url in (self.location, self.endpointUrl)):
            raise ValueError(
                "take the credential out of the address: it is given in the environment (docs/settings.md)"
            )
        if self.type == "api" and any(mark in (self.location or "") for mark in "?#"):
            raise ValueError(
                "take out of the address what stands behind ? or #, it would not be asked for: set `parameters` in "
                "exchange.extract; a secret is given in the environment (docs/connectors.md#credentials)"
            )
        return self

    @property
    def address(self) -> str | None:
        """What a connector is given: the `location`; of a database `<type>://<host>:<port>/<database>?schema=<schema>`;
        of a bucket at an endpoint that is not AWS's `<endpointUrl>/<bucket>/<prefix>`."""
        if self.type in (*READ_DATABASES, *OTHER_DATABASES):
            port = f":{self.port}" if self.port else ""
            schema = f"?schema={quote(self.schema_, safe='')}" if self.schema_ else ""
            return f"{self.type}://{self.host}{port}/{quote(self.database or '', safe='')}{schema}"
        if self.type == "s3" and self.location and self.endpointUrl:
            return f"{self.endpointUrl.rstrip('/')}/{self.location.removeprefix('s3://')}"
        return self.location


class TeamMember(Strict):
    username: str | None = None
    name: str | None = None
    role: str | None = None
    description: str | None = None


class Team(Strict):
    name: Text
    description: str | None = None
    members: list[TeamMember] = Field(default_factory=list)


class Support(Strict):
    channel: Text
    url: str | None = None
    tool: str | None = None
    description: str | None = None
    scope: str | None = None


class Price(Strict):
    priceAmount: Decimal
    priceCurrency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    priceUnit: Text


class Role(Strict):
    role: Text
    access: Literal["read", "write"] | None = None
    description: str | None = None


class SlaProperty(Strict):
    """``latency`` (age of the newest row on arrival) and ``frequency`` (time from one delivery to the next) are
    read as the freshness that the provider promises."""

    property: Literal["latency", "frequency", "retention", "generalAvailability", "availability"]
    value: str | int | float
    unit: str | None = None
    element: str | None = None
    driver: str | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _is_a_span(self) -> SlaProperty:
        if self.property in ("latency", "frequency"):
            if self.unit not in HOURS:
                raise ValueError(f"{self.unit!r} is no unit of {self.property}; use one of {', '.join(HOURS)}")
            # Of a number that is none, or without an end, no comparison holds.
            if not isinstance(self.value, int | float) or not 0 < self.value * HOURS[self.unit] <= LONGEST_HOURS:
                raise ValueError(f"{self.value!r} is no {self.property}; use a number above 0, of a century at most")
        return self


class AuthoritativeDefinition(Strict):
    url: Text
    type: Text
    description: str | None = None


class DatasetCustom(Strict):
    property: Literal["exchange"]
    value: Any


class Contract(Strict):
    """One dataset of one provider. ``tenant`` is the provider's id, the one schema object the dataset's."""

    apiVersion: Literal["v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0"]
    kind: Literal["DataContract"]
    id: Text
    name: Text
    version: SemanticVersion
    status: Literal["proposed", "draft", "active", "deprecated", "retired"]
    tenant: Name
    # Of so many letters a tag of Airflow may be.
    domain: str | None = Field(default=None, max_length=100)
    dataProduct: str | None = None
    description: Description
    tags: list[str] = Field(default_factory=list)
    servers: list[Server] = Field(default_factory=list)
    schema_: list[SchemaObject] = Field(alias="schema", min_length=1, max_length=1)
    price: Price | None = None
    team: Team | None = None
    support: list[Support] = Field(default_factory=list)
    roles: list[Role] = Field(default_factory=list)
    slaProperties: list[SlaProperty] = Field(default_factory=list)
    authoritativeDefinitions: list[AuthoritativeDefinition] = Field(default_factory=list)
    customProperties: list[DatasetCustom] = Field(default_factory=list)

    exchange: DatasetExtension = Field(exclude=True, validation_alias=f"{LIFTED}exchange")

    @model_validator(mode="before")
    @classmethod
    def _lift_custom_properties(cls, data: Any) -> Any:
        return _lift(data)

    @property
    def provider(self) -> str:
        return self.tenant

    @property
    def dataset(self) -> str:
        return self.schema_[0].name

    @property
    def key(self) -> str:
        """``provider/dataset``, the name by which the command line and the lake know it."""
        return f"{self.provider}/{self.dataset}"

    @property
    def columns(self) -> list[Column]:
        return self.schema_[0].properties

    @property
    def primary_key(self) -> list[Column]:
        keys = [column for column in self.columns if column.primaryKey]
        return sorted(keys, key=lambda column: column.primaryKeyPosition or 0)

    @property
    def private(self) -> bool:
        return any(column.classification.private for column in self.columns)

    def promised(self, name: str) -> timedelta | None:
        """The ``latency`` or ``frequency`` that the provider's SLA states, or ``None``."""
        for sla in self.slaProperties:
            if sla.property == name and sla.unit is not None:
                return timedelta(hours=float(sla.value) * HOURS[sla.unit])
        return None

    def column(self, name: str) -> Column:
        """Raises ``KeyError`` where the contract has no such column."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


def _lift(data: Any) -> Any:
    """Gives each custom property a field of its own, so that pydantic types it.

    Under a name that no YAML key has: a ``unit`` that stands outside ``customProperties`` stays unknown.
    """
    if not isinstance(data, dict):
        return data
    entries = data.get("customProperties")
    lifted = {
        f"{LIFTED}{entry['property']}": entry.get("value")
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and entry.get("property") in LIFTED_PROPERTIES
    }
    return {**data, **lifted}
