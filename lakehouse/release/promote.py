"""Promotion: a candidate that passed its gate becomes an immutable release, and the pointer moves last."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import (
    Candidate,
    Field_,
    File,
    Input,
    Manifest,
    latest_key,
    latest_manifest,
    read_candidate,
    release_prefix,
)
from lakehouse.storage.index import candidates, mart_state, releases, upsert
from lakehouse.storage.lake import Conflict


class NotPromotable(RuntimeError):
    """A candidate that did not pass its gate, or that was built on a release which is no longer the newest."""


def promote(exchange: Exchange, *, mart: Mart, candidate: str) -> dict[str, Any]:
    """Makes the release of a candidate that passed. Returns ``{"status": released | unchanged | withheld, …}``.

    Every step may be repeated: files under a release's key are always the same bytes, the manifest is written
    after them and ``latest.json`` after that, so a reader that starts there sees the old release or the new one.
    """
    row = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart.name, candidates.c.candidate == candidate)
    )
    if row is None or row["status"] not in ("passed", "withheld", "released", "unchanged"):
        found = "is not known" if row is None else f"is {row['status']}"
        raise NotPromotable(f"{mart.name}: candidate {candidate} {found}; it must have passed its gate")
    made = read_candidate(exchange, mart=mart.name, candidate=candidate)
    if row["status"] == "withheld":
        return _settle(exchange, mart, made, "withheld", None, reason=row["reason"])
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    if base is not None and base.candidate == candidate:
        return _finish(exchange, mart, made, base)
    if (base.release if base else None) != made.base:
        raise NotPromotable(
            f"{mart.name}: candidate {candidate} was built on {made.base or 'no release'}, but the newest is now "
            f"{base.release if base else 'none'}: build it again"
        )
    files = _files(made, base)
    if base is not None and [(f.path, f.sha256) for f in files] == [(f.path, f.sha256) for f in base.files]:
        return _settle(
            exchange, mart, made, "unchanged", base.release, reason="every file equals the last release's"
        )
    manifest = _manifest(mart, made, base, files, row["gates"] or {})
    _place_files(exchange, manifest, made, base)
    prefix = release_prefix(mart.name, mart.major, manifest.release)
    exchange.lake.write_bytes(
        "marts",
        f"{prefix}/manifest.json",
        manifest.model_dump_json(indent=1).encode(),
        content_type="application/json",
    )
    _copy_report(exchange, made, manifest)
    _move_pointer(exchange, manifest, base)
    return _finish(exchange, mart, made, manifest)


def _files(made: Candidate, base: Manifest | None) -> tuple[File, ...]:
    """What the release will hold: what was built, and the rest of the release before."""
    carried = [file for file in (base.files if base else ()) if file.partition not in made.built]
    built = [file for file in made.built.values() if file is not None]
    return tuple(sorted([*carried, *built], key=lambda file: file.path))


def _manifest(
    mart: Mart, made: Candidate, base: Manifest | None, files: tuple[File, ...], gates: dict[str, Any]
) -> Manifest:
    digest = hashlib.sha256("\n".join(f"{file.path} {file.sha256}" for file in files).encode()).hexdigest()
    number = int(base.release.split("-")[0]) + 1 if base else 1
    used = {delivery for file in files for delivery in file.deliveries}
    known: dict[str, Input] = {
        entry.delivery: entry for entry in (*(base.inputs if base else ()), *made.inputs)
    }
    inputs = tuple(known[delivery] for delivery in sorted(used))
    meta = mart.exchange
    return Manifest(
        mart=mart.name,
        major=mart.major,
        release=f"{number:04d}-{digest[:8]}",
        candidate=made.candidate,
        created_at=datetime.now(UTC),
        title=meta.title,
        description=mart.description.strip(),
        theme=meta.theme,
        keywords=tuple(meta.keywords),
        licence={"id": meta.licence.id, "url": meta.licence.url},
        attribution=tuple(sorted({entry.attribution for entry in inputs})),
        simulated_inputs=tuple(sorted({entry.dataset for entry in inputs if entry.simulated})),
        access=meta.access,
        price=meta.price,
        columns=tuple(
            Field_(name=c.name, type=c.data_type, description=c.description.strip(), unit=c.unit)
            for c in mart.columns
        ),
        key=tuple(meta.key),
        partition={"column": meta.partition.column, "grain": meta.partition.grain},
        files=files,
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        inputs=inputs,
        code=made.code,
        code_version=made.code_version,
        privacy=meta.privacy.model_dump(mode="json"),
        gates=gates,
        diff=_diff(made, base, files),
    )


def _diff(made: Candidate, base: Manifest | None, files: tuple[File, ...]) -> dict[str, Any]:
    before = {file.partition: file for file in base.files} if base else {}
    after = {file.partition: file for file in files}
    changed = [name for name in after if name in before and after[name].sha256 != before[name].sha256]
    return {
        "before": base.release if base else None,
        "partitions_added": sorted(after.keys() - before.keys()),
        "partitions_changed": sorted(changed),
        "partitions_removed": sorted(before.keys() - after.keys()),
        "partitions_carried": len(after) - len(changed) - len(after.keys() - before.keys()),
        "rows_before": base.rows if base else 0,
        "rows_after": sum(file.rows for file in files),
    }


def _place_files(exchange: Exchange, manifest: Manifest, made: Candidate, base: Manifest | None) -> None:
    """Links or copies each file into the release, within the store: no byte passes through here."""
    target = release_prefix(manifest.mart, manifest.major, manifest.release)
    for file in manifest.files:
        if file.partition in made.built:
            exchange.lake.copy("candidates", f"{made.prefix}/{file.path}", "marts", f"{target}/{file.path}")
        elif base is not None:
            source = release_prefix(base.mart, base.major, base.release)
            exchange.lake.copy("marts", f"{source}/{file.path}", "marts", f"{target}/{file.path}")


def _copy_report(exchange: Exchange, made: Candidate, manifest: Manifest) -> None:
    for entry in list(exchange.lake.list("reports", f"{made.prefix}/")):
        name = entry.key.removeprefix(f"{made.prefix}/")
        exchange.lake.copy("reports", entry.key, "reports", f"{manifest.mart}/{manifest.release}/{name}")


def _move_pointer(exchange: Exchange, manifest: Manifest, base: Manifest | None) -> None:
    key = latest_key(manifest.mart, manifest.major)
    standing = exchange.lake.stat("marts", key)
    pointer = {
        "mart": manifest.mart,
        "major": manifest.major,
        "release": manifest.release,
        "path": release_prefix(manifest.mart, manifest.major, manifest.release),
        "created_at": manifest.created_at.isoformat(),
    }
    content = json.dumps(pointer, indent=1).encode()
    now = latest_manifest(exchange, mart=manifest.mart, major=manifest.major)
    if (now.release if now else None) != (base.release if base else None):
        raise Conflict("marts", key, base.release if base else None)
    exchange.lake.write_if("marts", key, content, expected=standing.version if standing else None)


def _finish(exchange: Exchange, mart: Mart, made: Candidate, manifest: Manifest) -> dict[str, Any]:
    """Tells the index; may run again after a death between the pointer and here."""
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(releases)
            .where(releases.c.mart == mart.name, releases.c.major == mart.major)
            .values(latest=False)
        )
        upsert(
            connection,
            releases,
            {
                "mart": mart.name,
                "major": mart.major,
                "release": manifest.release,
                "candidate": made.candidate,
                "created_at": manifest.created_at,
                "rows": manifest.rows,
                "bytes": manifest.bytes,
                "path": release_prefix(mart.name, mart.major, manifest.release),
                "status": "released",
                "latest": True,
            },
        )
    return _settle(
        exchange, mart, made, "released", manifest.release, rows=manifest.rows, bytes=manifest.bytes
    )


def _settle(
    exchange: Exchange, mart: Mart, made: Candidate, status: str, release: str | None, **facts: Any
) -> dict[str, Any]:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(candidates)
            .where(candidates.c.mart == mart.name, candidates.c.candidate == made.candidate)
            .values(status=status, release=release)
        )
        upsert(
            connection,
            mart_state,
            {
                "mart": mart.name,
                "major": mart.major,
                "change": made.change,
                "code": made.code,
                "release": release,
            },
        )
    return {"mart": mart.name, "candidate": made.candidate, "status": status, "release": release, **facts}
