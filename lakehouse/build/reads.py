"""What a model's SQL reads, by the engine's own parser. What dbt was not told of would hide what a mart is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

from lakehouse.storage.sql import literal

# Table functions that make rows of what they are given; any other may read what stands elsewhere.
GIVEN = frozenset({"unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree"})
Named = tuple[str, str]


def undeclared(sql: str, *, stated: Iterable[Named], schemas: Iterable[str]) -> list[str]:
    """What a SELECT reads beyond the relations ``stated`` (schema and name): relations of any of dbt's ``schemas``,
    files, and table functions. Raises ``ValueError`` where it is no SELECT."""
    with duckdb.connect() as connection:
        # It stands in the SQL: the first bound parameter would load pandas.
        [[text]] = connection.execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise ValueError(tree["error_message"])
    allowed, known = set(stated), set(schemas)
    own = {entry["key"].lower() for node in _nodes(tree) if "cte_map" in node for entry in node["cte_map"]["map"]}
    found = set()
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            schema, name = node["schema_name"].lower(), node["table_name"].lower()
            if (schema in known and (schema, name) not in allowed) or (not schema and name not in own):
                found.add(f"{schema}.{name}" if schema else name)
        elif node.get("type") == "TABLE_FUNCTION" and node["function"]["function_name"].lower() not in GIVEN:
            found.add(f"{node['function']['function_name']}(…)")
    return sorted(found)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
