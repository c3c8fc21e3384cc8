"""What a mart is made of, read from dbt's parsed project: datasets, the nodes above it, and a digest of its code."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.build.reads import undeclared

# `from anonymised.cells`: dbt does not see that a model depends on it.
PLAIN_NAME = re.compile(r'\b(?:from|join)\s+"?([a-z_]\w*)"?\s*\.\s*"?([a-z_]\w*)', re.IGNORECASE)


class NoSuchModel(LookupError):
    """dbt knows no model of that name."""


class HiddenLineage(RuntimeError):
    """A model reads what it does not say by ref or source, so nobody can say what it is made of."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Of one mart: its dbt node, the datasets it is made of, its code's digest, and its node with all above it.

    Where the build fills the mart (with noise, or but for what is withheld), its counts come from a second node,
    ``counted``, which its SQL does not read: ``selected`` are the datasets that the SQL itself is made of.
    """

    node: str
    datasets: frozenset[str]
    code: str
    ancestors: frozenset[str]
    selected: frozenset[str]
    counted: str | None = None

    @property
    def models(self) -> list[str]:
        """Names of the models that dbt has to make, with all above them."""
        return [node.rsplit(".", 1)[-1] for node in (self.node, self.counted) if node]


def lineage_of(manifest: Any, mart: str) -> Lineage:
    """From a dbt manifest. Raises :class:`NoSuchModel` and :class:`HiddenLineage`."""
    node = _node(manifest, mart)
    selected = _with_all_above(manifest, node)
    policy = (manifest.nodes[node].config.meta.get("exchange") or {}).get("privacy") or {}
    filled = policy.get("kind") in ("dp", "suppress")
    counted = _node(manifest, policy["contributions"].rpartition(".")[2]) if filled else None
    seen = selected | (_with_all_above(manifest, counted) if counted else set())
    _require_refs(manifest, seen)
    return Lineage(
        node=node,
        datasets=_datasets(manifest, seen),
        code=_code_digest(manifest, mart=node, nodes=sorted(seen & manifest.nodes.keys())),
        ancestors=frozenset(seen),
        selected=_datasets(manifest, selected),
        counted=counted,
    )


def _node(manifest: Any, model: str) -> str:
    node = f"model.{manifest.metadata.project_name}.{model}"
    if node not in manifest.nodes:
        raise NoSuchModel(f"dbt knows no model {model!r}; see dbt_project/models")
    return node


def _with_all_above(manifest: Any, node: str) -> set[str]:
    seen, stack = set[str](), [node]
    while stack:
        unique_id = stack.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            stack.extend(parents(manifest.nodes[unique_id]) if unique_id in manifest.nodes else ())
    return seen


def _require_refs(manifest: Any, nodes: set[str]) -> None:
    schemas = {node.schema for node in (*manifest.nodes.values(), *manifest.sources.values())}
    for unique_id in sorted(nodes & manifest.nodes.keys()):
        node = manifest.nodes[unique_id]
        for schema, name in PLAIN_NAME.findall(node.raw_code):
            if schema.lower() in schemas:
                raise _hidden(node, f"{schema}.{name} by its plain name", f"{{{{ ref('{name}') }}}}")


def require_stated_reads(manifest: Any, models: Iterable[Any]) -> None:
    """Whether each model's compiled SQL reads what dbt knows that it depends on, and nothing else: its text says less,
    for macros write into it. Raises :class:`HiddenLineage`."""
    known = {name: (one.schema.lower(), one.alias.lower()) for name, one in manifest.nodes.items()}
    known |= {name: (one.schema.lower(), one.identifier.lower()) for name, one in manifest.sources.items()}
    schemas = {schema for schema, _ in known.values()}
    for node in models:
        stated = [known[name] for name in parents(node) if name in known]
        try:
            found = undeclared(node.compiled_code, stated=stated, schemas=schemas)
        except ValueError as error:
            raise HiddenLineage(
                f"{node.original_file_path}: what it reads cannot be told ({error}); write it as one SELECT"
            ) from None
        if found:
            raise _hidden(node, ", ".join(found), "{{ ref(…) }}")


def _hidden(node: Any, what: str, instead: str) -> HiddenLineage:
    return HiddenLineage(
        f"{node.original_file_path} reads {what}, which hides what it is made of: write {instead} or "
        "{{ source(…) }}"
    )


def _datasets(manifest: Any, nodes: set[str]) -> frozenset[str]:
    sources = [manifest.sources[unique_id] for unique_id in nodes & manifest.sources.keys()]
    return frozenset(f"{source.source_name}/{source.name}" for source in sources)


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
