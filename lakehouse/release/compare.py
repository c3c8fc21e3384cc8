"""What differs between two releases of a mart: schema, partitions and rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import File, Manifest, release_prefix
from lakehouse.storage.sql import identifier, literal


def compare(exchange: Exchange, before: Manifest, after: Manifest) -> dict[str, Any]:
    """Counts of rows added, removed and restated, by partition; only partitions whose bytes differ are read."""
    old, new = ({file.partition: file for file in manifest.files} for manifest in (before, after))
    columns_before = {column.name: column.type for column in before.columns}
    columns_after = {column.name: column.type for column in after.columns}
    changed = [
        name
        for name in sorted(old.keys() | new.keys())
        if (old[name].sha256 if name in old else None) != (new[name].sha256 if name in new else None)
    ]
    partitions = []
    if columns_before == columns_after:
        with tempfile.TemporaryDirectory(prefix="diff-") as folder:
            for name in changed:
                partitions.append(
                    {
                        "partition": name,
                        **_rows(exchange, before, after, old.get(name), new.get(name), Path(folder)),
                    }
                )
    else:
        partitions = [{"partition": name} for name in changed]
    return {
        "mart": after.mart,
        "before": before.release,
        "after": after.release,
        "schema": {
            "added": sorted(columns_after.keys() - columns_before.keys()),
            "removed": sorted(columns_before.keys() - columns_after.keys()),
            "retyped": sorted(
                name
                for name in columns_before.keys() & columns_after.keys()
                if columns_before[name] != columns_after[name]
            ),
        },
        "rows_before": before.rows,
        "rows_after": after.rows,
        "partitions_equal": len(old.keys() | new.keys()) - len(changed),
        "partitions": partitions,
    }


def _rows(
    exchange: Exchange, before: Manifest, after: Manifest, old: File | None, new: File | None, folder: Path
) -> dict[str, int]:
    if old is None or new is None:
        return {"added": new.rows if new else 0, "removed": old.rows if old else 0, "restated": 0}
    keys = ", ".join(identifier(name) for name in after.key)
    with exchange.duckdb() as connection:
        for name, manifest, file in (("old", before, old), ("new", after, new)):
            path = _local(exchange, manifest, file, folder / name)
            connection.execute(
                f"CREATE VIEW {identifier(name)} AS FROM read_parquet({literal(str(path))}, hive_partitioning=false)"
            )
        added, removed, differing = connection.execute(
            f"""
            SELECT (SELECT count(*) FROM "new" ANTI JOIN "old" USING ({keys})),
                   (SELECT count(*) FROM "old" ANTI JOIN "new" USING ({keys})),
                   (SELECT count(*) FROM (FROM "new" EXCEPT ALL FROM "old"))
            """
        ).fetchone() or (0, 0, 0)
    return {"added": added, "removed": removed, "restated": differing - added}


def _local(exchange: Exchange, manifest: Manifest, file: File, target: Path) -> Path:
    key = f"{release_prefix(manifest.mart, manifest.major, manifest.release)}/{file.path}"
    return exchange.lake.local_path("marts", key) or exchange.lake.download("marts", key, target)
