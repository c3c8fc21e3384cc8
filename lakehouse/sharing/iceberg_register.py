"""Each release that stands is a snapshot of its mart's Iceberg table, over the very same files, and a tag of its name.

Whoever runs it brings a table to what is published: releases that are not in it come in, those that were withdrawn or
removed go, and the branch ``main`` follows the mart's pointer. Each step is one commit of the catalogue, so a reader
sees the old release or the new one, and a run that was killed is made good by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError, ValidationException
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update.snapshot import ManageSnapshots

from lakehouse.exchange import Exchange
from lakehouse.release.listing import READABLE
from lakehouse.release.manifest import Manifest, latest_manifest, read_manifest, release_prefix
from lakehouse.sharing import iceberg_tables as tables
from lakehouse.storage.index import releases

RELEASE = "exchange.release"
MANIFEST = "exchange.manifest-sha256"
_ATTEMPTS = 5


class NotRegistered(RuntimeError):
    """A table that could not be brought to what is published, since others kept changing it."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One table after a run. ``added`` and ``removed`` name releases; ``metadata`` is where readers without a
    catalogue begin, ``None`` where no release stands."""

    mart: str
    major: int
    release: str | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    metadata: str | None


def register_releases(exchange: Exchange, *, mart: str | None = None) -> list[Registered]:
    """Brings the tables of all marts, or of one, to what is published. Does nothing where they are.

    Raises :class:`NotRegistered`.
    """
    query = sa.select(releases.c.mart, releases.c.major).distinct().order_by(releases.c.mart, releases.c.major)
    if mart is not None:
        query = query.where(releases.c.mart == mart)
    rows = exchange.index.rows(query)
    if not rows:
        return []
    catalog = tables.open_catalog(exchange)
    return [register(exchange, catalog, mart=row["mart"], major=row["major"]) for row in rows]


def register(exchange: Exchange, catalog: Catalog, *, mart: str, major: int) -> Registered:
    """The same for one mart and major. Two that run at once do not harm each other: of two commits one holds, and the
    other looks again at what is left to do."""
    for _ in range(_ATTEMPTS):
        try:
            return _bring(exchange, catalog, mart, major)
        except (CommitFailedException, ValidationException, TableAlreadyExistsError) as error:
            failed = error
    raise NotRegistered(
        f"{mart} v{major}: its Iceberg table was changed by others {_ATTEMPTS} times in a row; run `exchange iceberg` "
        "again"
    ) from failed


def tags(table: Table) -> dict[str, int]:
    """The releases that a table holds, with the snapshot of each."""
    return {
        name: ref.snapshot_id
        for name, ref in table.metadata.refs.items()
        if ref.snapshot_ref_type == SnapshotRefType.TAG
    }


def _bring(exchange: Exchange, catalog: Catalog, mart: str, major: int) -> Registered:
    standing = _standing(exchange, mart, major)
    table = _table_of(exchange, catalog, mart, major)
    held = tags(table) if table else {}
    added = tuple(release for release in standing if release not in held)
    for release in added:
        manifest = read_manifest(exchange, mart=mart, major=major, release=release)
        table = _add(exchange, catalog, table, manifest)
    removed = tuple(sorted(held.keys() - set(standing)))
    if table is None:
        return Registered(mart=mart, major=major, release=None, added=(), removed=(), metadata=None)
    if not standing:
        catalog.drop_table(tables.table_name(mart, major))
        exchange.lake.delete(tables.BUCKET, tables.hint_key(mart, major))
        return Registered(mart=mart, major=major, release=None, added=(), removed=removed, metadata=None)
    newest = _newest(exchange, mart, major, standing)
    _point(table, newest)
    _remove(table, removed)
    tables.write_hint(exchange, table, mart, major)
    return Registered(
        mart=mart, major=major, release=newest, added=added, removed=removed, metadata=table.metadata_location
    )


def _table_of(exchange: Exchange, catalog: Catalog, mart: str, major: int) -> Table | None:
    """The table as it stands; none where it is of another place, for all addresses in it are absolute: a lake that was
    moved or copied is described anew."""
    table = tables.load(catalog, mart, major) or tables.recover(exchange, catalog, mart, major)
    if table is None or table.location() == tables.location(exchange, mart, major):
        return table
    catalog.drop_table(tables.table_name(mart, major))
    exchange.lake.delete(tables.BUCKET, tables.hint_key(mart, major))
    return None


def _standing(exchange: Exchange, mart: str, major: int) -> list[str]:
    """In the order in which they were released."""
    rows = exchange.index.rows(
        sa.select(releases.c.release).where(
            releases.c.mart == mart, releases.c.major == major, releases.c.status.in_(READABLE)
        )
    )
    return sorted((row["release"] for row in rows), key=lambda release: (int(release.split("-")[0]), release))


def _newest(exchange: Exchange, mart: str, major: int, standing: list[str]) -> str:
    """What the pointer names; where that is not on record yet, or withdrawn, the last that stands."""
    latest = latest_manifest(exchange, mart=mart, major=major)
    return latest.release if latest is not None and latest.release in standing else standing[-1]


def _add(exchange: Exchange, catalog: Catalog, table: Table | None, manifest: Manifest) -> Table:
    """One commit: the files that the table shows are those of the release and no others, and the tag names them."""
    first = tables.file_address(exchange, manifest, manifest.files[0])
    name = tables.table_name(manifest.mart, manifest.major)
    if table is None:
        place = tables.location(exchange, manifest.mart, manifest.major)
        schema = tables.described_schema(catalog._load_file_io(location=place), first, manifest)
        transaction: Transaction = catalog.create_table_transaction(name, schema=schema, location=place)
        with transaction.update_spec() as spec:
            spec.add_field(
                manifest.partition["column"], tables.partition_transform(schema, manifest), manifest.partition["grain"]
            )
        before = {}
    else:
        schema = tables.described_schema(table.io, first, manifest)
        transaction = table.transaction()
        with transaction.update_schema() as columns:
            columns.union_by_name(schema)
        before = {task.file.file_path: task.file for task in table.scan().plan_files()}
    _set_properties(transaction, manifest)
    _replace_files(exchange, transaction, manifest, before)
    transaction.commit_transaction()
    return catalog.load_table(name)


def _set_properties(transaction: Transaction, manifest: Manifest) -> None:
    # Files have no field ids: columns are told by their names.
    mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
    transaction.set_properties(
        {
            TableProperties.DEFAULT_NAME_MAPPING: mapping,
            TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
            TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: "20",
            # A commit that is tried again by itself would not see that the release has come in meanwhile.
            TableProperties.COMMIT_NUM_RETRIES: "0",
            "comment": f"{manifest.title}. {' '.join(manifest.description.split())}",
            "licence": manifest.licence["id"],
            "licence-url": manifest.licence["url"],
            "attribution": "; ".join(manifest.attribution),
            "access": manifest.access,
        }
    )


def _replace_files(
    exchange: Exchange, transaction: Transaction, manifest: Manifest, before: dict[str, DataFile]
) -> None:
    content = exchange.lake.read_bytes("marts", f"{manifest.prefix}/manifest.json")
    said = {
        RELEASE: manifest.release,
        MANIFEST: hashlib.sha256(content).hexdigest(),
        "exchange.licence": manifest.licence["id"],
        "exchange.attribution": "; ".join(manifest.attribution),
        "exchange.created-at": manifest.created_at.isoformat(),
    }
    files = list(_data_files(exchange, transaction, manifest, before))
    with transaction.update_snapshot(snapshot_properties=said).overwrite() as snapshot:
        for old in before.values():
            snapshot.delete_data_file(old)
        for new in files:
            snapshot.append_data_file(new)
    made = transaction.table_metadata.current_snapshot()
    assert made is not None
    names = ManageSnapshots(transaction)
    names.create_tag(made.snapshot_id, manifest.release)
    names.commit()


def _data_files(
    exchange: Exchange, transaction: Transaction, manifest: Manifest, before: dict[str, DataFile]
) -> Iterator[DataFile]:
    """What Iceberg keeps of each file. Of one that was carried over with the same bytes it is known already, and its
    footer is not read again."""
    carried = _carried(exchange, transaction, manifest)
    read = []
    for file in manifest.files:
        place = tables.file_address(exchange, manifest, file)
        known = before.get(carried.get(file.path, ""))
        if known is None:
            read.append(place)
        else:
            yield _moved(known, place)
    io = transaction._table.io
    yield from parquet_files_to_data_files(io=io, table_metadata=transaction.table_metadata, file_paths=iter(read))


def _carried(exchange: Exchange, transaction: Transaction, manifest: Manifest) -> dict[str, str]:
    """Paths of the release whose bytes the table's current release has too, each with its place there."""
    standing = transaction.table_metadata.current_snapshot()
    release = standing.summary.additional_properties.get(RELEASE) if standing and standing.summary else None
    # A column that came in since changes what the same bytes say.
    if standing is None or release is None or standing.schema_id != transaction.table_metadata.current_schema_id:
        return {}
    base = read_manifest(exchange, mart=manifest.mart, major=manifest.major, release=release)
    same = {file.path: file.sha256 for file in base.files}
    prefix = release_prefix(manifest.mart, manifest.major, release)
    return {
        file.path: tables.address(exchange, "marts", f"{prefix}/{file.path}")
        for file in manifest.files
        if same.get(file.path) == file.sha256
    }


def _moved(file: DataFile, place: str) -> DataFile:
    """The same bytes at another place."""
    moved = DataFile(*file._data)
    moved._data[1] = place
    moved.spec_id = file.spec_id
    return moved


def _point(table: Table, release: str) -> None:
    """Has the branch ``main`` show the release."""
    wanted = tags(table)[release]
    if table.metadata.refs[MAIN_BRANCH].snapshot_id != wanted:
        with table.manage_snapshots() as change:
            change.set_current_snapshot(snapshot_id=wanted)
        table.refresh()


def _remove(table: Table, removed: tuple[str, ...]) -> None:
    """Takes tags away, and with them their snapshots: nothing that names their files is left in the metadata."""
    if not removed:
        return
    held = tags(table)
    with table.manage_snapshots() as change:
        for release in removed:
            change.remove_tag(release)
    table.refresh()
    table.maintenance.expire_snapshots().by_ids([held[release] for release in removed]).commit()
    table.refresh()
