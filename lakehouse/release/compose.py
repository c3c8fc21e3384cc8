"""What a release will hold and say of itself: its manifest, from a candidate and the release before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.privacy.ledger import epsilon
from lakehouse.release.manifest import AreaGroup, Candidate, Column, File, Input, Manifest, Notice

# What a consumer reads or relies on. Two manifests that agree in it are the same release.
CONTENT = {
    "mart", "major", "title", "description", "theme", "keywords", "licence", "attribution", "simulated_inputs",
    "access", "price", "columns", "key", "partition", "privacy", "areas",
}  # fmt: skip


def compose(
    mart: Mart,
    made: Candidate,
    base: Manifest | None,
    *,
    gates: dict[str, Any],
    number: int,
    signed_with: str,
    notices: tuple[Notice, ...],
    changes: dict[str, Any],
) -> Manifest:
    """The manifest of the release that follows ``base``. Its name is ``number`` and a digest of what it says. It has
    no approval yet: that is no part of what it says.

    ``changes``: the candidate's diff in brief, see :func:`lakehouse.release.diff.keep.in_brief`.
    """
    files = files_of(made, base)
    inputs = _used(made, base, files)
    meta = mart.exchange
    manifest = Manifest(
        mart=mart.name,
        major=mart.major,
        release="",
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
        columns=columns_of(mart),
        key=tuple(meta.key),
        partition={"column": meta.partition.column, "grain": meta.partition.grain},
        files=files,
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        inputs=inputs,
        change=made.change,
        waiting=made.waiting,
        code=made.code,
        code_version=made.code_version,
        environment=made.environment,
        approved_by=None,
        signed_with=signed_with,
        notices=notices,
        privacy=_privacy(mart, made, base, files),
        areas=standing_areas(made.areas, base.areas if base else ()),
        gates=gates,
        diff=_diff(base, files) | changes,
    )
    digest = hashlib.sha256(json.dumps(_content(manifest), sort_keys=True).encode()).hexdigest()
    return manifest.model_copy(update={"release": f"{number:04d}-{digest[:8]}"})


def same_content(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests name the same bytes and say the same of them."""
    return _content(one) == _content(other)


def _content(manifest: Manifest) -> dict[str, Any]:
    said = manifest.model_dump(mode="json", include=CONTENT)
    return {**said, "files": [[file.path, file.sha256] for file in manifest.files]}


def release_inputs(made: Candidate, base: Manifest | None) -> tuple[Input, ...]:
    """The deliveries whose rows the release of a candidate will be able to hold."""
    return _used(made, base, files_of(made, base))


def columns_of(mart: Mart) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=column.name,
            type=column.data_type,
            description=column.description.strip(),
            unit=column.unit,
            required=column.required,
            values=column.values,
        )
        for column in mart.columns
    )


def files_of(made: Candidate, base: Manifest | None) -> tuple[File, ...]:
    """What was built, and the rest of the release before unless the candidate is all of the mart."""
    carried = [] if base is None or made.whole else [f for f in base.files if f.partition not in made.built]
    built = [file for file in made.built.values() if file is not None]
    return tuple(sorted([*carried, *built], key=lambda file: file.path))


def standing_areas(made: Iterable[AreaGroup], before: Iterable[AreaGroup]) -> tuple[AreaGroup, ...]:
    """The groups of the release before, and those of periods that are new."""
    known = {(group.period, group.kind, group.code): group for group in (*made, *before)}
    return tuple(known[name] for name in sorted(known))


def _privacy(mart: Mart, made: Candidate, base: Manifest | None, files: tuple[File, ...]) -> dict[str, Any]:
    """The policy; of a mart with noise also what was spent on its partitions, and what that means in all. Of the
    digests on the ledger nothing is said: who guesses a whole partition could prove the guess by one."""
    policy = mart.exchange.privacy
    said = policy.model_dump(mode="json")
    if isinstance(policy, DpPolicy):
        known = {**(base.privacy.get("spent", {}).get("partitions", {}) if base else {}), **made.spent}
        partitions = {file.partition: known[file.partition] for file in sorted(files, key=lambda file: file.partition)}
        rho = sum(map(Decimal, partitions.values()), Decimal(0))
        delta = policy.budget.delta
        in_all = {"rho": str(rho), "epsilon": round(epsilon(rho, delta), 2), "delta": str(delta)}
        said["spent"] = {"partitions": partitions, **in_all}
    return said


def _used(made: Candidate, base: Manifest | None, files: tuple[File, ...]) -> tuple[Input, ...]:
    used = {delivery for file in files for delivery in file.deliveries}
    known = {entry.delivery: entry for entry in (*(base.inputs if base else ()), *made.inputs)}
    return tuple(known[delivery] for delivery in sorted(used))


def _diff(base: Manifest | None, files: tuple[File, ...]) -> dict[str, Any]:
    before = {file.partition: file for file in base.files} if base else {}
    after = {file.partition: file for file in files}
    both = after.keys() & before.keys()
    changed = sorted(name for name in both if after[name].sha256 != before[name].sha256)
    return {
        "before": base.release if base else None,
        "partitions_added": sorted(after.keys() - before.keys()),
        "partitions_changed": changed,
        "partitions_removed": sorted(before.keys() - after.keys()),
        "partitions_carried": len(both) - len(changed),
        "rows_before": base.rows if base else 0,
        "rows_after": sum(file.rows for file in files),
    }
