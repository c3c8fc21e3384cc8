"""`exchange rebuild`: a release from its inputs once more, every file held to its hash."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, out, print_json, print_progress, print_table
from lakehouse.exchange import Exchange
from lakehouse.release.listing import find_release


@app.command()
def rebuild(
    names: Annotated[list[str], typer.Argument(metavar="MART[@RELEASE]…")],
    threads: Annotated[int | None, typer.Option(min=1, help="DuckDB's threads; default the setting's.")] = None,
    code: Annotated[
        str, typer.Option(help="recorded: by the code and pins of the release; current: by those that are here.")
    ] = "recorded",
    built_by: Annotated[str | None, typer.Option(help="Only the files that this candidate built.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build releases again from raw, in a private folder, and prove every file equal by its hash."""
    from lakehouse.build.rebuild.elsewhere import NotThere
    from lakehouse.build.rebuild.run import OtherCode
    from lakehouse.build.rebuild.run import rebuild as build_again

    exchange = Exchange.from_environment()
    exchange.index.create()
    manifests = [find_release(exchange, name) for name in names]
    if code not in ("recorded", "current"):
        raise WrongUse(f"no code {code!r}: recorded or current")
    try:
        found = build_again(
            exchange,
            manifests,
            threads=threads,
            code="current" if code == "current" else "recorded",
            built_by=built_by,
            progress=print_progress,
        )
    except (OtherCode, NotThere) as error:
        raise Refused(str(error)) from None
    other = [entry for entry in found if not entry.equal]
    if as_json:
        print_json([asdict(entry) for entry in found])
    else:
        rows = [[entry.mart, entry.file, entry.expected[:12], (entry.found or "nothing")[:12]] for entry in other]
        if rows:
            print_table("", [("mart", False), ("file", False), ("expected", False), ("found", False)], rows)
        for why in sorted({entry.why for entry in other if entry.why}):
            out.print(why)
        for manifest in manifests:
            mine = [entry for entry in found if (entry.mart, entry.release) == (manifest.mart, manifest.release)]
            equal = sum(entry.equal for entry in mine)
            out.print(f"{manifest.mart}@{manifest.release}: {equal} of {len(mine)} files equal by sha256")
    if other:
        raise typer.Exit(1)
