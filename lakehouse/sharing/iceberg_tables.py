"""Marts as Iceberg tables: their names, their places in the lake, and the catalogue that knows their newest metadata.

The catalogue is pyiceberg's, in the index's database: of each table it holds one address, which it swaps atomically.
Metadata stands in the bucket ``iceberg``; data files are those of the releases and are never written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform, YearTransform

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import File, Manifest
from lakehouse.storage.lake import ObjectNotFound

BUCKET = "iceberg"
NAMESPACE = "marts"
# Readers without a catalogue begin here: it names the newest metadata, as DuckDB looks for it.
HINT = "version-hint.text"
TRANSFORMS: dict[str, Transform[Any, Any]] = {
    "day": DayTransform(),
    "month": MonthTransform(),
    "year": YearTransform(),
}


def table_name(mart: str, major: int) -> tuple[str, str]:
    """One table a mart and major: ``marts.<mart>_v<major>``."""
    return (NAMESPACE, f"{mart}_v{major}")


def mart_of(table: str) -> tuple[str, int] | None:
    """The mart and major of a table's name, or ``None`` where it has another form."""
    mart, mark, major = table.rpartition("_v")
    return (mart, int(major)) if mark and mart and major.isdecimal() else None


def address(exchange: Exchange, bucket: str, key: str) -> str:
    """Where Iceberg finds the object: ``file://`` and an absolute path as it stands, or ``s3://``."""
    local = exchange.lake.local_path(bucket, key)
    return f"file://{local}" if local is not None else exchange.lake.duckdb_url(bucket, key)


def file_address(exchange: Exchange, manifest: Manifest, file: File) -> str:
    return address(exchange, "marts", f"{manifest.prefix}/{file.path}")


def open_catalog(exchange: Exchange) -> Catalog:
    """The catalogue, its tables made where they are not there yet."""
    exchange.lake.ensure_bucket(BUCKET)
    catalog = SqlCatalog("exchange", uri=exchange.settings.database_url, **exchange.lake.pyiceberg_properties())
    catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


def load(catalog: Catalog, mart: str, major: int) -> Table | None:
    name = table_name(mart, major)
    return catalog.load_table(name) if catalog.table_exists(name) else None


def recover(exchange: Exchange, catalog: Catalog, mart: str, major: int) -> Table | None:
    """Takes a table back into a catalogue that was lost, from the metadata that its hint names."""
    try:
        hint = exchange.lake.read_bytes(BUCKET, hint_key(mart, major)).decode().strip()
    except ObjectNotFound:
        return None
    key = f"{mart}/v{major}/metadata/{hint}.metadata.json"
    if exchange.lake.stat(BUCKET, key) is None:
        return None
    return catalog.register_table(table_name(mart, major), address(exchange, BUCKET, key))


def location(exchange: Exchange, mart: str, major: int) -> str:
    return address(exchange, BUCKET, f"{mart}/v{major}")


def hint_key(mart: str, major: int) -> str:
    return f"{mart}/v{major}/metadata/{HINT}"


def write_hint(exchange: Exchange, table: Table, mart: str, major: int) -> None:
    """Says which metadata is the newest, unless that is what stands there."""
    said = table.metadata_location.rpartition("/")[2].removesuffix(".metadata.json").encode()
    key = hint_key(mart, major)
    if exchange.lake.stat(BUCKET, key) is None or exchange.lake.read_bytes(BUCKET, key) != said:
        exchange.lake.write_bytes(BUCKET, key, said)


def sweep(exchange: Exchange, *, dry_run: bool = False) -> list[str]:
    """Removes metadata that no table leads to: what a registration that was killed wrote, and what has expired. Returns
    its keys. To be run while nothing else runs; ``dry_run`` removes nothing."""
    catalog = open_catalog(exchange)
    held: set[str] = set()
    for name in catalog.list_tables(NAMESPACE):
        table = catalog.load_table(name)
        held.add(table.metadata_location)
        held.update(entry.metadata_file for entry in table.metadata.metadata_log)
        for snapshot in table.metadata.snapshots:
            held.add(snapshot.manifest_list)
            held.update(manifest.manifest_path for manifest in snapshot.manifests(table.io))
    keys = (entry.key for entry in exchange.lake.list(BUCKET, ""))
    found = [key for key in keys if not key.endswith(f"/{HINT}") and address(exchange, BUCKET, key) not in held]
    if not dry_run:
        for key in found:
            exchange.lake.delete(BUCKET, key)
    return found


def partition_transform(schema: pa.Schema, manifest: Manifest) -> Transform[Any, Any]:
    """How the release's partitions follow from its column: the statistics of each file name its partition."""
    column = schema.field(manifest.partition["column"])
    return IdentityTransform() if pa.types.is_integer(column.type) else TRANSFORMS[manifest.partition["grain"]]


def described_schema(io: FileIO, address: str, manifest: Manifest) -> pa.Schema:
    """The columns of a data file, with what the manifest says of each where Iceberg keeps descriptions."""
    with io.new_input(address).open() as source:
        schema = pq.read_schema(source)
    words = {column.name: _words(column.description, column.unit) for column in manifest.columns}
    fields: Sequence[pa.Field] = [field.with_metadata({"doc": words.get(field.name, "")}) for field in schema]
    return pa.schema(fields)


def _words(description: str, unit: str | None) -> str:
    return f"{' '.join(description.split())}{f' [{unit}]' if unit else ''}"
