"""What a mart is made of, read from dbt's parsed project: datasets, the nodes above it, and a digest of its code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class NoSuchModel(LookupError):
    """dbt knows no model of that name."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Of one mart: its dbt node, the datasets it is made of, its code's digest, and its node with all above it."""

    node: str
    datasets: frozenset[str]
    code: str
    ancestors: frozenset[str]


def lineage_of(manifest: Any, mart: str) -> Lineage:
    """From a dbt manifest. Raises :class:`NoSuchModel`."""
    node = f"model.{manifest.metadata.project_name}.{mart}"
    if node not in manifest.nodes:
        raise NoSuchModel(f"dbt knows no model {mart!r}; see dbt_project/models/marts")
    seen, stack = set[str](), [node]
    while stack:
        unique_id = stack.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            stack.extend(parents(manifest.nodes[unique_id]) if unique_id in manifest.nodes else ())
    sources = [manifest.sources[unique_id] for unique_id in seen & manifest.sources.keys()]
    return Lineage(
        node=node,
        datasets=frozenset(f"{source.source_name}/{source.name}" for source in sources),
        code=_code_digest(manifest, mart=node, nodes=sorted(seen & manifest.nodes.keys())),
        ancestors=frozenset(seen),
    )


def parents(node: Any) -> list[str]:
    """The nodes above a node; a seed has none, and no list of them."""
    return list(getattr(node.depends_on, "nodes", []))


def _code_digest(manifest: Any, *, mart: str, nodes: Iterable[str]) -> str:
    """Of all that decides the mart's bytes but its rows: models and seeds, what contracts and marts state of
    them, the types of columns, and the macros that they call, directly or not. Of the mart itself also the
    descriptions and units, which stand in its Parquet."""
    facts: list[Any] = []
    for unique_id in nodes:
        node = manifest.nodes[unique_id]
        types = {column.name: column.data_type for column in node.columns.values()}
        facts.append([unique_id, node.checksum.checksum, types, node.config.meta.get("exchange")])
    facts.append([[c.name, c.description, c.config.meta] for c in manifest.nodes[mart].columns.values()])
    facts.append(_macros(manifest, nodes))
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _macros(manifest: Any, nodes: Iterable[str]) -> Mapping[str, str]:
    """The project's own macros below the nodes; dbt's own are pinned with its version."""
    project = manifest.metadata.project_name
    found: dict[str, str] = {}
    stack = [name for unique_id in nodes for name in manifest.nodes[unique_id].depends_on.macros]
    while stack:
        name = stack.pop()
        macro = manifest.macros.get(name)
        if macro is not None and macro.package_name == project and name not in found:
            found[name] = macro.macro_sql
            stack.extend(macro.depends_on.macros)
    return found
