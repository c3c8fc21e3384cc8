"""From a mart's column down to the columns that providers deliver, by the SQL that the engine is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify

from lakehouse.build.dbt import DATABASE, CompiledNode, DbtProject
from lakehouse.contracts.derive import clean_columns
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.odcs import Contract
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange

DIALECT = "duckdb"
# The build's database by its name in SQL: that of its file.
DATABASE_NAME = DATABASE.split(".")[0]
Schema = dict[str, dict[str, dict[str, str]]]


class LineageUnknown(RuntimeError):
    """SQL whose columns nobody can follow."""


@dataclass(frozen=True, kw_only=True, order=True)
class Field:
    """A column of a relation: of a model (``conformed.parking_observations``), or of a dataset (``aarhus.parking``)
    with the name that its provider gives it as ``source``. ``column`` is ``*`` where rows are counted and no column
    is read."""

    relation: str
    column: str
    source: str | None = None

    @property
    def dataset(self) -> str | None:
        """``provider/dataset``, where it is a provider's."""
        return None if self.source is None else self.relation.replace(".", "/", 1)


@dataclass(kw_only=True)
class ColumnLineage:
    """Of one mart: of each column of each model the columns that it is made of, one step down."""

    mart: str
    columns: tuple[str, ...]
    made_of: dict[Field, tuple[Field, ...]] = field(default_factory=dict)

    def root(self, column: str) -> Field:
        """Raises ``KeyError`` for a column that the mart has not."""
        if column not in self.columns:
            raise KeyError(f"{self.mart} has no column {column!r}; it has: {', '.join(self.columns)}")
        return Field(relation=f"marts.{self.mart}", column=column)

    def origins(self, column: str) -> list[Field]:
        """The providers' columns at the end of every way down."""
        seen: set[Field] = set()
        stack = [self.root(column)]
        while stack:
            found = stack.pop()
            if found not in seen:
                seen.add(found)
                stack.extend(self.made_of.get(found, ()))
        return sorted(found for found in seen if found.dataset is not None)

    def tree(self, column: str) -> dict[str, Any]:
        """``{relation, column, source, dataset, from: […]}``, down to the providers' columns."""
        return self._tree(self.root(column))

    def _tree(self, found: Field) -> dict[str, Any]:
        return {
            "relation": found.relation,
            "column": found.column,
            "dataset": found.dataset,
            "source": found.source,
            "from": [self._tree(below) for below in self.made_of.get(found, ())],
        }


def column_lineage(exchange: Exchange, mart: Mart, *, project: DbtProject | None = None) -> ColumnLineage:
    """By today's models. No row is read. Raises :class:`lakehouse.build.dbt.BuildFailed`."""
    return column_lineages(exchange, [mart], project=project)[mart.name]


def column_lineages(
    exchange: Exchange, marts: Sequence[Mart], *, project: DbtProject | None = None
) -> dict[str, ColumnLineage]:
    """Of several marts, with one compilation for all: models that they share are taken apart once."""
    project = project or DbtProject(exchange)
    models = sorted({model for mart in marts for model in project.lineage(mart.name).models})
    with exchange.workplace("build") as folder:
        compiled = project.compiled(folder=folder, models=models)
    nodes = {node.unique_id: node for node in compiled if node.resource in ("model", "seed")}
    made_of: dict[Field, tuple[Field, ...]] = {}
    schema = _sources(exchange.contracts)
    for name in TopologicalSorter({key: node.depends_on for key, node in nodes.items()}).static_order():
        node = nodes.get(name)
        if node is None:
            continue
        if node.resource == "seed":
            _columns_of(schema, node).update(_seed_columns(exchange.settings.dbt_path, node))
        else:
            made_of |= _model(schema, node, exchange.contracts)
    found = {}
    for mart in marts:
        columns = tuple(column.name for column in mart.columns)
        found[mart.name] = ColumnLineage(mart=mart.name, columns=columns, made_of=made_of)
        _add_noise(found[mart.name], mart, schema)
    return found


def _sources(contracts: Mapping[str, Contract]) -> Schema:
    schema: Schema = {"calendar": {"hours": {"hour_utc": "TIMESTAMPTZ"}}}
    for contract in contracts.values():
        schema.setdefault(contract.provider, {})[contract.dataset] = dict(clean_columns(contract))
    return schema


def _columns_of(schema: Schema, node: CompiledNode) -> dict[str, str]:
    return schema.setdefault(node.schema, {}).setdefault(node.name, {})


def _seed_columns(folder: Path, node: CompiledNode) -> dict[str, str]:
    with (folder / "seeds" / f"{node.name}.csv").open(encoding="utf-8-sig") as lines:
        return dict.fromkeys((name.strip().strip('"') for name in lines.readline().split(",")), "VARCHAR")


def _model(schema: Schema, node: CompiledNode, contracts: Mapping[str, Contract]) -> dict[Field, tuple[Field, ...]]:
    """The model's columns, each with those that it is made of, and its rows with those that they are made of.
    Raises :class:`LineageUnknown`."""
    made_of: dict[str, list[Field]] = {}
    try:
        query: Any = qualify(
            parse_one(node.sql, dialect=DIALECT), schema={DATABASE_NAME: schema}, dialect=DIALECT,
            validate_qualify_columns=False,
        )  # fmt: skip
        for column in (selected.alias_or_name for selected in query.selects):
            made_of[column] = sorted(set(_leaves(query, column, schema, contracts)))
        made_of["*"] = [_field(table, "*", contracts) for table in _tables(query, schema)]
    except SqlglotError as error:
        raise LineageUnknown(f"{node.name}: its SQL cannot be taken apart ({str(error).splitlines()[0]})") from None
    _columns_of(schema, node).update({name: "VARCHAR" for name in made_of if name != "*"})
    relation = f"{node.schema}.{node.name}"
    return {Field(relation=relation, column=column): tuple(fields) for column, fields in made_of.items()}


def _leaves(query: Any, column: str, schema: Schema, contracts: Mapping[str, Contract]) -> Iterator[Field]:
    counted = True
    for node in lineage(column, query, schema={DATABASE_NAME: schema}, dialect=DIALECT).walk():
        if not node.downstream and isinstance(node.source, exp.Table):
            name = exp.to_column(node.name).name if "." in node.name else node.name
            if name in schema.get(node.source.db, {}).get(node.source.name, {}):
                counted = False
                yield _field((node.source.db, node.source.name), name, contracts)
    if counted and query.find(exp.Count) is not None:
        # A count of rows reads none of their columns.
        yield from (_field(table, "*", contracts) for table in _tables(query, schema))


def _tables(query: Any, schema: Schema) -> list[tuple[str, str]]:
    """The relations that a query reads, those of its own left out."""
    found = {(table.db, table.name) for table in query.find_all(exp.Table)}
    return sorted(name for name in found if name[1] in schema.get(name[0], {}))


def _field(relation: tuple[str, str], column: str, contracts: Mapping[str, Contract]) -> Field:
    name = ".".join(relation)
    contract = contracts.get("/".join(relation))
    if contract is None:
        return Field(relation=name, column=column)
    known = next((entry for entry in contract.columns if entry.name == column), None)
    return Field(relation=name, column=column, source=known.source if known else "")


def _add_noise(found: ColumnLineage, mart: Mart, schema: Schema) -> None:
    """The measure of a mart with noise is filled by the build, from the contributions of its policy."""
    policy = mart.exchange.privacy
    if not isinstance(policy, DpPolicy):
        return
    relation, _, name = policy.contributions.partition(".")
    fields = (Field(relation=policy.contributions, column=column) for column in schema.get(relation, {}).get(name, {}))
    found.made_of[found.root(policy.measure)] = tuple(fields)
