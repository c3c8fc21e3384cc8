"""Deliveries on disk, held as a table that answers the queries of a paged JSON API."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

_PARAMETERS = {"start", "end", "offset", "limit", "sort", "timezone", "filter"}
_ZONES = {"utc": ZoneInfo("UTC"), "dk": ZoneInfo("Europe/Copenhagen")}
_TIME_FORMS = {4: "%Y", 7: "%Y-%m", 10: "%Y-%m-%d", 16: "%Y-%m-%dT%H:%M"}


class QueryError(ValueError):
    """The query asks for what the API does not have; the message says what and what it has."""


@dataclass(frozen=True, kw_only=True)
class LoopbackDataset:
    """One dataset of the API and the deliveries that fill it: all csv, or all Parquet.

    `time_column` is in UTC, a timestamp or ISO text; start and end of a query select on it.
    `delimiter` and `decimal` are those of the csv, which has a header line.
    """

    name: str
    files: Sequence[Path]
    time_column: str
    delimiter: str = ","
    decimal: str = "."


class LoopbackTable:
    """One dataset in memory. Queries may come from any thread."""

    def __init__(self, *, dataset: LoopbackDataset, database: duckdb.DuckDBPyConnection) -> None:
        """Load the deliveries into `database`, once.

        Raises ValueError if there are none, they differ in kind, or lack the time column.
        """
        self._name = dataset.name
        self._table = _quoted(dataset.name)
        self._database = database
        self._time_column = dataset.time_column
        database.execute("SET TimeZone = 'UTC'")  # a cast of a zoned time would follow the machine's zone
        delivered = _read(dataset=dataset, database=database)
        self._columns = delivered.columns
        if dataset.time_column not in self._columns:
            raise ValueError(
                f"{dataset.name}: no column {dataset.time_column} among {', '.join(self._columns)}: "
                "correct time_column or delimiter"
            )
        fields = (
            _as_json_value(column=column, kind=str(kind), decimal=dataset.decimal)
            for column, kind in zip(delivered.columns, delivered.types, strict=True)
        )
        # A row whose time cannot be read stands with the first: it has to reach intake to be refused there.
        time = f"TRY_CAST({_quoted(dataset.time_column)} AS TIMESTAMP)"
        moment = f"coalesce({time}, min({time}) OVER ()) AS __at"
        delivered.project(", ".join([*fields, moment, "row_number() OVER () AS __row"])).create(self._table)

    def answer(self, query: Mapping[str, str]) -> bytes:
        """The JSON document for a query: total of the selection, what was asked, and one page of records.

        Without `limit` the page holds everything if `start` is given and 100 rows if not; `limit=0` is
        everything. Without `sort` the newest comes first. Raises QueryError.
        """
        if unknown := sorted(query.keys() - _PARAMETERS):
            known = ", ".join(sorted(_PARAMETERS))
            raise QueryError(f"unknown parameters {', '.join(unknown)}; known: {known}")
        where, values = self._selection(query)
        offset = _whole_number(query, name="offset", default=0)
        limit = _whole_number(query, name="limit", default=0 if "start" in query else 100)
        cursor = self._database.cursor()
        total = _single(cursor.execute(f"SELECT count(*) FROM {self._table} WHERE {where}", values))
        records = _single(
            cursor.execute(
                f"""
                SELECT coalesce(to_json(list(record ORDER BY position)), '[]')::VARCHAR
                FROM (
                    SELECT {{{", ".join(f"{_literal(c)}: {_quoted(c)}" for c in self._columns)}}} AS record,
                           row_number() OVER (ORDER BY {self._order(query)}) AS position
                    FROM {self._table} WHERE {where}
                ) WHERE position > ? AND (? = 0 OR position <= ?)
                """,
                [*values, offset, limit, offset + limit],
            )
        )
        asked = {key: query[name] for key, name in (("filters", "filter"), ("sort", "sort")) if name in query}
        head = {"total": total, **asked, "offset": offset, "limit": limit, "dataset": self._name}
        return f'{json.dumps(head)[:-1]}, "records": {records}}}'.encode()

    def _selection(self, query: Mapping[str, str]) -> tuple[str, list[object]]:
        """A WHERE clause with its values, from start, end and filter."""
        zone = query.get("timezone", "dk").lower()
        if zone not in _ZONES:
            raise QueryError(f"timezone {zone!r}: give one of {', '.join(_ZONES)}")
        clauses, values = ["true"], list[object]()
        for name, operator in (("start", ">="), ("end", "<")):
            if name in query:
                clauses.append(f"__at {operator} ?")
                values.append(_moment(query[name], zone=_ZONES[zone]))
        for column, wanted in _filters(query.get("filter", "{}")).items():
            clauses.append(f"list_contains(?, {self._column(column)}::VARCHAR)")
            values.append([str(value) for value in (wanted if isinstance(wanted, list) else [wanted])])
        return " AND ".join(clauses), values

    def _order(self, query: Mapping[str, str]) -> str:
        """An ORDER BY list; rows that tie stay in the order of delivery."""
        terms = []
        for term in query.get("sort", f"{self._time_column} desc").split(","):
            column, _, direction = term.strip().rpartition(" ")
            if direction.lower() not in ("asc", "desc"):
                column, direction = term.strip(), "asc"
            terms.append(f"{self._column(column.strip())} {direction}")
        return ", ".join([*terms, "__row"])

    def _column(self, name: str) -> str:
        """The column, quoted. Raises QueryError if there is none of the name."""
        if name not in self._columns:
            raise QueryError(f"column {name!r} is not in {self._name}; it has {', '.join(self._columns)}")
        return _quoted(name)


def _read(*, dataset: LoopbackDataset, database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    """The deliveries as one relation, typed as delivered."""
    files = sorted(str(file) for file in dataset.files)
    if not files:
        raise ValueError(f"{dataset.name}: no deliveries; drop a file or take the dataset out")
    if all(file.endswith(".parquet") for file in files):
        return database.from_parquet(files, union_by_name=True)
    if any(file.endswith(".parquet") for file in files):
        raise ValueError(f"{dataset.name}: csv and Parquet mixed in {', '.join(files)}; keep to one")
    # The whole file decides a column's type: a late value must not turn up as an error in an answer.
    return database.sql(
        """
        FROM read_csv($files, delim=$delimiter, decimal_separator=$decimal, header=true, sample_size=-1,
                      union_by_name=true)
        """,
        params={"files": files, "delimiter": dataset.delimiter, "decimal": dataset.decimal},
    )


def _as_json_value(*, column: str, kind: str, decimal: str) -> str:
    """A projection that turns a column into what the API has in its JSON.

    One value that is no number makes a whole csv column text: its numbers still get the API's decimal point.
    """
    name = _quoted(column)
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return f"strftime(CAST({name} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S') AS {name}"
    if kind in ("FLOAT", "DOUBLE"):  # JSON knows neither NaN nor infinity
        return f"CASE WHEN isfinite({name}) THEN {name} END AS {name}"
    if kind == "VARCHAR" and decimal == ",":
        is_number = f"regexp_full_match({name}, '-?\\d+,\\d+')"
        return f"CASE WHEN {is_number} THEN replace({name}, ',', '.') ELSE {name} END AS {name}"
    return name


def _moment(text: str, *, zone: ZoneInfo) -> datetime:
    """A start or an end as a naive moment in UTC."""
    try:
        moment = datetime.strptime(text, _TIME_FORMS.get(len(text), "%Y-%m-%dT%H:%M"))
    except ValueError as error:
        raise QueryError(f"time {text!r}: write yyyy, yyyy-MM, yyyy-MM-dd or yyyy-MM-ddTHH:mm") from error
    return moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def _filters(text: str) -> dict[str, object]:
    """Columns and the values wanted in them."""
    try:
        filters = json.loads(text)
    except ValueError as error:
        raise QueryError(f"filter {text!r} is not JSON: {error}") from error
    if not isinstance(filters, dict):
        raise QueryError(f'filter {text!r}: write an object such as {{"PriceArea": ["DK1"]}}')
    return filters


def _whole_number(query: Mapping[str, str], *, name: str, default: int) -> int:
    """A parameter that counts rows."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise QueryError(f"{name} {text!r}: give a whole number, 0 or more")
    return int(text)


def _single(result: duckdb.DuckDBPyConnection) -> object:
    """The one value of a one-row result."""
    row = result.fetchone()
    return row[0] if row else None


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
