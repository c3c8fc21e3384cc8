"""The typed arguments of the connectors that speak HTTP."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from lakehouse.contracts.extract_base import Extract

# Names that publishers and gateways give to keys. A bare `key` or `code` is too often none.
_KEYS = r"(?:api|app|access|auth|subscription|functions?)[-_]?key"
_SECRET = re.compile(rf"authorization|cookie|{_KEYS}|token|secret|password|signature", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    rf"{_KEYS}|(?:access|auth)[-_]?token|secret|password|^token$|^appid$|^(?:x-\w+-)?sig(?:nature)?$", re.IGNORECASE
)


def _leads_down(path: str) -> str:
    if {".", ".."} & {*path.split("/")}:
        raise ValueError(f"{path!r} leads up again: write where it leads, without . and ..")
    return path


Path = Annotated[str, Field(pattern=r"^/[^/?#][^?#]*$", description="below the base URL"), AfterValidator(_leads_down)]
PLACEHOLDERS = ("start", "end", "last")
Given = TypeVar("Given", bound=Mapping[str, object])


def placeholders(template: str) -> set[str]:
    """The names in a template such as `/{start:%Y-%m}.csv`. Raises ValueError for one that is unknown or bare."""
    found = set()
    for _, name, form, _ in Formatter().parse(template):
        if name is None:
            continue
        if name not in PLACEHOLDERS or "%" not in (form or ""):
            raise ValueError(f"{{{name}}} in {template!r}: write {{start:%Y-%m-%d}}, or end, or last, with a form")
        found.add(name)
    return found


def _known_placeholders(template: str) -> str:
    placeholders(template)
    return template


Template = Annotated[str, AfterValidator(_known_placeholders)]


def _host(name: str) -> str:
    """A host as addresses have it. Raises ValueError for what is more than that, which would match none."""
    if not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*", name):
        raise ValueError(f"{name!r}: write the host alone, as files.example.org")
    return name.lower()


def _without_secrets(given: Given) -> Given:
    if taken := sorted(name for name in given if _SECRET_PARAMETER.search(name)):
        raise ValueError(
            f"parameters {', '.join(taken)}: a secret is given in the environment, as ?{taken[0]}=… "
            "(docs/connectors.md#credentials)"
        )
    return given


# What a request says in its address, which stands in contracts and logs.
Parameters = Annotated[dict[str, str], AfterValidator(_without_secrets)]


class HttpExtract(Extract):
    """What every connector over HTTP takes.

    `also_hosts`: other hosts that the source's own answers may send us to (links, redirects); the credential
    goes to none of them. `headers` are sent with every request; never a secret. `max_bytes` is of one answer.
    """

    max_requests_per_second: PositiveFloat | None = Field(default=None, description="no pause when absent")
    timeout_seconds: PositiveFloat = 30
    attempts: PositiveInt = Field(default=5, description="requests made for one answer before giving up")
    max_bytes: PositiveInt = 256 * 1024**2
    also_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    headers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _windows_cut_an_interval(self) -> Self:
        if self.window_days is not None and not self.by_interval:
            raise ValueError(
                "window_days cuts an interval; this source is asked for what is new, or for all: take it out"
            )
        return self

    @model_validator(mode="after")
    def _headers_are_open_and_can_be_sent(self) -> Self:
        if taken := sorted(name for name in self.headers if _SECRET.search(name)):
            raise ValueError(f"headers {', '.join(taken)}: a secret is given in the environment (docs/settings.md)")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not (value.isascii() and value.isprintable()):
                raise ValueError(f"headers {name!r}: a header is one line of plain ASCII")
        return self


class Changes(BaseModel):
    """Asking for what was changed since the watermark. `value`: dotted path of a record's time of change.

    `ordered`: the source sorts by that time, so each page can be sealed, and gone on behind, by itself. `counter`: it
    is no time but a number of the change, which the clock says nothing of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameter: str
    value: str
    ordered: bool = False
    counter: bool = False


class PagedJsonApi(HttpExtract):
    """A JSON API that answers `GET <base url><path>` in pages.

    The defaults are the Energi Data Service's: an interval whose start is included and whose end is not, pages
    by offset and limit, an object with a count and a list of records. Its start and end are Danish time unless
    `timezone: utc` is among the `parameters`, and it admits about one request per dataset, minute and address:
    prefer a page that holds the whole interval.

    `paging`: `offset`; `page_number`; `cursor` (`next` is the path of the next cursor in the answer, sent as
    `cursor_parameter`); `next_url` (`next` is the path of the next URL); `link_header` (RFC 8288, rel=next);
    `none`. Paths are dotted, and keys may have dots of their own; `records` is empty where the answer is the list
    itself.
    """

    connector: Literal["paged_json_api"]
    path: Path
    paging: Literal["offset", "page_number", "cursor", "next_url", "link_header", "none"] = "offset"
    records: str = Field(default="records", description="path of the list of rows")
    total: str | None = Field(default="total", description="path of the count of rows; null where there is none")
    next: str | None = Field(default=None, description="path of the next cursor or URL")
    page_size: PositiveInt = Field(default=10_000, description="rows a request")
    parameters: Parameters = Field(description="sent as they stand with every request; never a secret")
    sort_parameter: str | None = Field(default="sort", description="which of `parameters` orders the rows")
    start_parameter: str | None = "start"
    end_parameter: str | None = "end"
    offset_parameter: str = "offset"
    limit_parameter: str | None = "limit"
    page_parameter: str = "page"
    first_page: int = Field(default=1, ge=0, description="number of the first page")
    cursor_parameter: str = "cursor"
    time_format: str = Field(default="%Y-%m-%dT%H:%M", description="strftime form of start and end, in UTC")
    changes: Changes | None = None

    @property
    def by_interval(self) -> bool:
        return self.start_parameter is not None or self.end_parameter is not None

    def last_bound(self, moment: datetime) -> datetime:
        """As `time_format` writes it: of a day alone, its beginning."""
        return _written(moment, self.time_format)

    @property
    def numbered(self) -> bool:
        """Whether a page is asked for by its place in the whole set."""
        return self.paging in ("offset", "page_number")

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        """Raise ValueError if the fixed parameters leave the order open or collide with the paging ones."""
        if self.numbered and not self.parameters.get(self.sort_parameter or "", "").strip():
            raise ValueError(
                f"parameters must hold {self.sort_parameter!r}: without a fixed order of the rows, pages by "
                "offset repeat some and miss others; name every column of the dataset's key"
            )
        if self.numbered and self.limit_parameter is None:
            raise ValueError("limit_parameter is missing: pages by place need their size")
        if self.paging in ("cursor", "next_url") and not self.next:
            raise ValueError(f"next is missing: paging by {self.paging} needs the path of it in the answer")
        if self.by_interval and not _reads_back(self.time_format):
            raise ValueError(
                f"time_format {self.time_format!r} writes no day that can be read back, or a time without its hour: "
                "use strftime's forms of dates and times, as %Y-%m-%dT%H:%M:%SZ"
            )
        if self.changes and self.by_interval:
            raise ValueError("changes: asked for by watermark, so set start_parameter and end_parameter to null")
        own = [self.start_parameter, self.end_parameter, self.limit_parameter]
        own += [self.changes.parameter] if self.changes else []
        place = {"offset": self.offset_parameter, "page_number": self.page_parameter, "cursor": self.cursor_parameter}
        names = [name for name in (*own, place.get(self.paging)) if name is not None]
        if taken := sorted(set(names) & self.parameters.keys()):
            raise ValueError(f"parameters {', '.join(taken)} are set by the connector: take them out")
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)} must be {_NUMBERS[len(names)]} different parameters")
        return self


def _written(moment: datetime, form: str) -> datetime:
    """What is left of a moment that is written in a form, in UTC."""
    left = datetime.strptime(moment.astimezone(UTC).strftime(form), form)
    return left if left.tzinfo else left.replace(tzinfo=UTC)


def _reads_back(form: str) -> bool:
    """Whether a day can be told from what is written, and the times of a day come in their order."""
    day = datetime(2024, 2, 29, tzinfo=UTC)
    # In steps of a second less than a quarter of an hour, minutes without hours go back, and seconds without minutes.
    times = [day + timedelta(seconds=second) for second in range(0, 86_400, 15 * 60 - 1)]
    try:
        left = [_written(time, form) for time in times]
    except ValueError:
        return False
    return left == sorted(left) and left[0] == day and left[-1].date() == day.date()


_NUMBERS = ("no", "one", "two", "three", "four", "five")


class Ckan(HttpExtract):
    """A resource of a CKAN portal: the rows of its datastore, or its file.

    `append_only`: rows are only ever added to the datastore, so each extract goes on behind the last row read;
    otherwise the whole table is read each time, and only pages that differ are sealed.
    """

    connector: Literal["ckan"]
    resource_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    read: Literal["datastore", "file"] = "datastore"
    sort: str = Field(default="_id asc", description="a fixed order of the datastore's rows")
    filters: Annotated[dict[str, str | int | float | list[str | int | float]], AfterValidator(_without_secrets)] = (
        Field(default_factory=dict)
    )
    append_only: bool = False
    page_size: PositiveInt = Field(default=10_000, le=32_000, description="rows a request; CKAN gives 32,000 at most")

    @property
    def by_interval(self) -> bool:
        return False

    @model_validator(mode="after")
    def _order_of_addition(self) -> Self:
        if self.append_only and self.sort != "_id asc":
            raise ValueError("append_only reads in the order of `_id asc`: take `sort` out")
        return self


class OgcFeatures(HttpExtract):
    """A collection of an OGC API Features server, as GeoJSON.

    `interval`: whether the features have a time and are asked for by it; their `datetime` includes both bounds.
    `filters` are query parameters that the collection offers.
    """

    connector: Literal["ogc_features"]
    collection: Annotated[str, Field(pattern=r"^[^/?#]+$")]
    path: str = Field(default="", pattern=r"^(/[^/?#][^?#]*)?$", description="of the API below the base URL")
    interval: bool = True
    bbox: tuple[float, float, float, float] | None = Field(default=None, description="west, south, east, north")
    crs: str | None = Field(default=None, description="URI of the answer's reference system")
    filters: Parameters = Field(default_factory=dict)
    page_size: PositiveInt = 1000

    @property
    def by_interval(self) -> bool:
        return self.interval

    @model_validator(mode="after")
    def _own_parameters(self) -> Self:
        if self.bbox and self.bbox[1] > self.bbox[3]:
            raise ValueError("bbox: the south lies north of the north; write west, south, east, north")
        if taken := sorted({"limit", "datetime", "bbox", "crs", "f", "offset"} & self.filters.keys()):
            raise ValueError(f"filters {', '.join(taken)} are set by the connector: take them out")
        return self


class Gbfs(HttpExtract):
    """One feed of a GBFS system (1, 2 or 3), found by its discovery file. `language`: before version 3."""

    connector: Literal["gbfs"]
    feed: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    path: Path = "/gbfs.json"
    language: str | None = Field(default=None, description="the first that the system has, when absent")

    @property
    def by_interval(self) -> bool:
        return False


class NgsiLd(HttpExtract):
    """Entities of one type in an NGSI-LD context broker, as they are or, with `temporal`, as they were.

    `context`: URL of the @context, sent as a Link header. `modified_since`: only what was modified since the
    last extract; needs `sysAttrs` among the `options`.
    """

    connector: Literal["ngsi_ld"]
    type: str
    path: Path = "/ngsi-ld/v1"
    temporal: bool = False
    time_property: Literal["observedAt", "createdAt", "modifiedAt"] = "observedAt"
    context: str | None = None
    attributes: tuple[str, ...] = ()
    query: str | None = Field(default=None, description="in the query language, as speed>50")
    options: tuple[str, ...] = ()
    tenant: str | None = Field(default=None, description="the broker's NGSILD-Tenant")
    modified_since: bool = False
    page_size: PositiveInt = Field(default=1000, description="entities a request")

    @property
    def by_interval(self) -> bool:
        return self.temporal

    @model_validator(mode="after")
    def _modified_is_shown(self) -> Self:
        if self.modified_since and (self.temporal or "sysAttrs" not in self.options):
            raise ValueError("modified_since needs `options: [sysAttrs]` and goes without temporal")
        return self


class HttpFile(HttpExtract):
    """A file, asked for again only where it changed (ETag, Last-Modified).

    `path` and `parameters` may hold `{start:%Y-%m}`, `{end:…}` (excluded) and `{last:…}` (the last moment of
    the interval, for sources that include the end), in strftime's forms and UTC. `every`: there is one file for
    each such period of the interval; without it one for each window of the extract.
    """

    connector: Literal["http_file"]
    path: Annotated[Path, AfterValidator(_known_placeholders)]
    parameters: Annotated[dict[str, Template], AfterValidator(_without_secrets)] = Field(default_factory=dict)
    every: Literal["hour", "day", "month", "year"] | None = None
    max_bytes: PositiveInt = 10 * 1024**3

    @property
    def file_each(self) -> str | None:
        return self.every

    @property
    def by_interval(self) -> bool:
        return any(placeholders(text) for text in (self.path, *self.parameters.values()))

    @model_validator(mode="after")
    def _periods_are_named(self) -> Self:
        if self.every and not self.by_interval:
            raise ValueError("every: neither path nor parameters hold a placeholder such as {start:%Y-%m}")
        return self


class Gtfs(HttpExtract):
    """The zip of a GTFS schedule, refused where it lacks one of `tables`."""

    connector: Literal["gtfs"]
    path: Path
    tables: tuple[str, ...] = ("agency.txt", "stops.txt", "routes.txt", "trips.txt", "stop_times.txt")
    max_bytes: PositiveInt = 10 * 1024**3

    @property
    def by_interval(self) -> bool:
        return False
