"""`exchange lineage`: from a mart's column to what providers deliver, and from a delivery to what was released."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.tree import Tree

from lakehouse.commands.console import AsJson, WrongUse, app, out, print_json, print_table
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange


@app.command()
def lineage(
    name: Annotated[str | None, typer.Argument(metavar="[MART[.COLUMN]]")] = None,
    delivery: Annotated[str | None, typer.Option(help="Each release that can hold a row of this delivery.")] = None,
    as_json: AsJson = False,
) -> None:
    """Where a mart's columns come from, or where a delivery's rows went to."""
    if (name is None) == (delivery is None):
        raise WrongUse("name a mart, MART.COLUMN, or a --delivery")
    exchange = Exchange.from_environment()
    exchange.index.create()
    if delivery is not None:
        _print_delivery(exchange, delivery, as_json)
    elif name is not None:
        _print_columns(exchange, name, as_json)


def _print_columns(exchange: Exchange, name: str, as_json: bool) -> None:
    from lakehouse.lineage.columns import column_lineage

    mart, _, column = name.partition(".")
    marts = read_marts(exchange.settings.marts_path)
    if mart not in marts:
        raise WrongUse(f"no mart {mart!r}; there are: {', '.join(sorted(marts))}")
    known = [entry.name for entry in marts[mart].columns]
    if column and column not in known:
        raise WrongUse(f"{mart} has no column {column!r}; it has: {', '.join(known)}")
    found = column_lineage(exchange, marts[mart])
    trees = [found.tree(entry) for entry in ([column] if column else known)]
    if as_json:
        print_json(
            [
                {
                    **tree,
                    "origins": [
                        {"dataset": field.dataset, "column": field.column, "source": field.source}
                        for field in found.origins(tree["column"])
                    ],
                }
                for tree in trees
            ]
        )
        return
    for tree in trees:
        out.print(_drawn(tree))


def _drawn(node: dict[str, Any], parent: Tree | None = None) -> Tree:
    if node["dataset"]:
        source = f", as {node['source']!r}" if node["source"] else ""
        label = f"{node['dataset']}: {node['column']}{source}"
    else:
        label = f"{node['relation']}.{node['column']}"
    branch = Tree(label) if parent is None else parent.add(label)
    for below in node["from"]:
        _drawn(below, branch)
    return branch


def _print_delivery(exchange: Exchange, delivery: str, as_json: bool) -> None:
    from lakehouse.lineage.releases import NoSuchDelivery, releases_of

    try:
        found = releases_of(exchange, delivery)
    except NoSuchDelivery as error:
        raise WrongUse(str(error)) from None
    if as_json:
        print_json(found)
        return
    out.print(f"{found['dataset']}: {found['file']}, received {found['received_at'][:19]}, {found['status']}")
    rows = [
        [entry["mart"], f"v{entry['major']}", entry["release"] + (" *" if entry["latest"] else ""), entry["status"],
         f"{len(entry['files'])}"]
        for entry in found["releases"]
    ]  # fmt: skip
    if not rows:
        out.print("no release can hold a row of it")
        return
    headings = [("mart", False), ("major", False), ("release (* latest)", False), ("status", False), ("files", True)]
    print_table("", headings, rows)
