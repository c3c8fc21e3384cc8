"""What a case of a bad delivery is, the contracts that it meets, and the bytes that cases are made of."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from tests.unit.landing.conftest import House, column

HEADER = "meter,read_at,use_kwh,note"
# Meter → value: what stands once the good rows are in.
GOOD = {"M001": 1.5, "M002": 2.5, "M003": 3.5, "M004": 4.5}
DAY = "2024-01-01T00:00:00Z"
ROWS = [f"{meter},{DAY},{value},ok" for meter, value in GOOD.items()]
CSV = "\n".join([HEADER, *ROWS]) + "\n"
RECORDS = [{"meter": meter, "read_at": DAY, "use_kwh": value, "note": "ok"} for meter, value in GOOD.items()]
NONE: dict[str, float] = {}
COLUMNS = [
    column("meter", "string", key=1, logicalTypeOptions={"pattern": "M[0-9]{3}"}),
    column("read_at", "timestamp", key=2, parse={"zone": "Europe/Copenhagen"}),
    column("use_kwh", "number", unit="kWh", required=True, logicalTypeOptions={"minimum": 0, "maximum": 1000000}),
    column("note", "string"),
]
FORMS = [{"format": name} for name in ("csv", "json", "ndjson", "parquet", "xlsx")]


def readings(house: House, columns: Sequence[dict[str, Any]] = COLUMNS, **more: Any) -> Contract:
    """Readings of meters by the day, in any form; a delivery of more than half wrong rows is refused."""
    # Another dataset of the same provider, which a file may be meant for.
    house.contract(
        [column("station", "string", key=1), column("seen_at", "timestamp", key=2), column("no2", "number")],
        dataset="air_quality",
    )
    return house.contract(list(columns), **{"forms": FORMS, "thresholds": {"max_refused_share": 0.5}, **more})


def tight(memory: str) -> Callable[[House], Contract]:
    """Readings, where DuckDB has so little memory."""

    def make(house: House) -> Contract:
        contract = readings(house)
        house.exchange = Exchange(house.exchange.settings.model_copy(update={"intake_memory_limit": memory}))
        return contract

    return make


def private(house: House) -> Contract:
    changed = [
        {**COLUMNS[0], "classification": "identifier"},
        COLUMNS[1],
        {**COLUMNS[2], "classification": "sensitive"},
    ]
    return readings(house, [*changed, {**COLUMNS[3], "classification": "free_text"}])


def ids(house: House) -> Contract:
    """A register whose ids are long numbers with zeros before them."""
    columns = [
        column("meter", "string", key=1),
        column("code", "string", logicalTypeOptions={"pattern": "[0-9]{6}"}),
        column("note", "string"),
    ]
    return readings(house, columns, kind="snapshot")


def moving(house: House) -> Contract:
    """Counts whose key does not hold the time."""
    columns = [COLUMNS[0], {**COLUMNS[1], "primaryKey": False, "primaryKeyPosition": None}, *COLUMNS[2:]]
    return readings(house, columns)


def shapes(house: House) -> Contract:
    columns = [
        column("meter", "string", key=1, physicalName="id"),
        column("use_kwh", "number", required=True),
        column("shape", "string", required=True, physicalName="geometry", parse={"geometry": "any"}),
    ]
    return readings(house, columns, kind="snapshot", forms=[{"format": "geojson"}])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bad delivery. ``stands``: meter → newest value in ``clean`` when all is done. ``rule``: the first of the
    receipt's errors, or of its warnings. ``before``: good deliveries that came first, ``beside``: with it. ``told``:
    words that the receipt has to hold, ``hidden``: words that it must not."""

    name: str
    make: Callable[[], bytes | str]
    status: str
    rule: str | None = None
    stands: dict[str, float] = field(default_factory=dict)
    file: str = "delivery.csv"
    contract: Callable[[House], Contract] = readings
    before: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    told: str = ""
    hidden: str = ""


def refused(name: str, make: Callable[[], bytes | str], rule: str, **more: Any) -> Case:
    return Case(name=name, make=make, status="refused", rule=rule, **more)


def partly(name: str, make: Callable[[], bytes | str], rule: str, **more: Any) -> Case:
    return Case(name=name, make=make, status="partly_accepted", rule=rule, **{"stands": GOOD, **more})


def taken(name: str, make: Callable[[], bytes | str], rule: str | None = None, **more: Any) -> Case:
    return Case(name=name, make=make, status="accepted", rule=rule, **{"stands": GOOD, **more})


def with_rows(*rows: str, header: str = HEADER) -> Callable[[], str]:
    """The good rows and these behind them."""
    return lambda: "\n".join([header, *ROWS, *rows]) + "\n"


def of_rows(*rows: str, header: str = HEADER) -> Callable[[], str]:
    return lambda: "\n".join([header, *rows]) + "\n"


def replaced(*pairs: tuple[str, str]) -> Callable[[], str]:
    def make() -> str:
        text = CSV
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return make


def zipped(members: Iterable[tuple[str, bytes | str]], **options: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


def gzipped(content: str) -> bytes:
    return gzip.compress(content.encode(), mtime=0)


def tarball() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        member = tarfile.TarInfo("readings.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV.encode()))
    return target.getvalue()


def linked() -> bytes:
    """A zip with a member that is a symbolic link, beside a good one."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("good.csv", CSV)
        link = zipfile.ZipInfo("link.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return target.getvalue()


def encrypted() -> bytes:
    """A zip whose member is marked as encrypted, as its header says it."""
    content = bytearray(zipped([("readings.csv", CSV)]))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def parquet(**columns: list[Any]) -> bytes:
    target = io.BytesIO()
    frame = pl.DataFrame(columns) if columns else pl.DataFrame(RECORDS)
    frame.write_parquet(target)
    return target.getvalue()


def parquet_twice(name: str) -> bytes:
    """The good rows with one of the columns twice."""
    target, table = io.BytesIO(), pa.Table.from_pylist(RECORDS)
    pq.write_table(table.append_column(name, table[name]), target)
    return target.getvalue()


def workbook(rows: Sequence[Sequence[Any]]) -> bytes:
    import openpyxl

    book, target = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(list(row))
    book.save(target)
    return target.getvalue()


def large() -> str:
    """A csv of 60 MB, of all hours from 1901 on of one meter after the other."""
    text = "x" * 600
    days = (date(1901, 1, 1) + timedelta(days=n) for n in range(100))
    rows = (f"M{n:03d},{day}T00:00:00Z,1,{text}" for day in days for n in range(1000))
    return "\n".join([HEADER, *rows]) + "\n"


def large_document() -> str:
    return documents([{**record, "note": "x" * 600} for record in RECORDS * 25_000])


def documents(records: Any) -> str:
    return json.dumps(records)


def geojson(**changes: Any) -> str:
    feature = {
        "type": "Feature",
        "id": "M001",
        "properties": {"use_kwh": 1.5},
        "geometry": {"type": "Point", "coordinates": [12.5, 55.6]},
        **changes,
    }
    return json.dumps({"type": "FeatureCollection", "features": [feature]})
