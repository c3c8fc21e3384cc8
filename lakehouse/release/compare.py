"""What differs between two releases of a mart: schema, partitions and rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import File, Manifest
from lakehouse.storage.sql import identifier, literal


def compare(exchange: Exchange, before: Manifest, after: Manifest) -> dict[str, Any]:
    """Counts of rows added, removed and restated, by partition; only partitions whose bytes differ are read.

    Returns ``{mart, before, after, schema: {added, removed, retyped}, rows_before, rows_after,
    partitions_equal, partitions: [{partition, added, removed, restated}]}``. Where the schema differs the
    partitions that differ are only named.
    """
    old, new = ({file.partition: file for file in manifest.files} for manifest in (before, after))
    both = [name for name in old.keys() & new.keys() if old[name].sha256 == new[name].sha256]
    changed = sorted((old.keys() | new.keys()) - set(both))
    schema = _schema(before, after)
    partitions: list[dict[str, Any]] = [{"partition": name} for name in changed]
    if not any(schema.values()):
        with exchange.duckdb() as connection, tempfile.TemporaryDirectory(prefix="diff-") as folder:
            for entry in partitions:
                was, now = old.get(entry["partition"]), new.get(entry["partition"])
                if was is None or now is None:
                    rows = was.rows if was else 0, now.rows if now else 0
                    entry |= {"added": rows[1], "removed": rows[0], "restated": 0}
                else:
                    paths = (
                        _local(exchange, before, was, Path(folder, "old")),
                        _local(exchange, after, now, Path(folder, "new")),
                    )
                    entry |= _rows(connection, after.key, *paths)
    return {
        "mart": after.mart,
        "before": before.release,
        "after": after.release,
        "schema": schema,
        "rows_before": before.rows,
        "rows_after": after.rows,
        "partitions_equal": len(both),
        "partitions": partitions,
    }


def _schema(before: Manifest, after: Manifest) -> dict[str, list[str]]:
    old, new = ({column.name: column.type for column in manifest.columns} for manifest in (before, after))
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "retyped": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


def _rows(connection: duckdb.DuckDBPyConnection, key: Iterable[str], old: Path, new: Path) -> dict[str, int]:
    for side, path in (("old", old), ("new", new)):
        source = f"read_parquet({literal(str(path))}, hive_partitioning=false)"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {identifier(side)} AS FROM {source}")
    keys = ", ".join(identifier(name) for name in key)
    added, removed, differing = connection.execute(
        f"""
        SELECT (SELECT count(*) FROM "new" ANTI JOIN "old" USING ({keys})),
               (SELECT count(*) FROM "old" ANTI JOIN "new" USING ({keys})),
               (SELECT count(*) FROM (FROM "new" EXCEPT ALL FROM "old"))
        """
    ).fetchone() or (0, 0, 0)
    return {"added": added, "removed": removed, "restated": differing - added}


def _local(exchange: Exchange, manifest: Manifest, file: File, target: Path) -> Path:
    key = f"{manifest.prefix}/{file.path}"
    return exchange.lake.local_path("marts", key) or exchange.lake.download("marts", key, target)
