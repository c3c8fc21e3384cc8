"""Commands of a data engineer who mends something: replay and doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, app, moment, out, print_json, print_progress, print_table
from lakehouse.exchange import Exchange

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


@app.command()
def replay(
    source: Annotated[str, typer.Argument(metavar="PROVIDER/DATASET")],
    since: Annotated[str | None, typer.Option(help="Only deliveries received from then on, as 2024-10-10.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what this version of the contract has judged.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read what was delivered again by a mended contract; rows that are good now leave quarantine."""
    from lakehouse.landing.replay import replay as read_again

    exchange = Exchange.from_environment()
    exchange.index.create()
    contract = exchange.contract(source)
    start = moment(since) if since else None
    done = read_again(exchange, contract, since=start, again=again, dry_run=dry_run, progress=print_progress)
    if as_json:
        print_json([asdict(entry) for entry in done])
        return
    if not done:
        out.print(
            f"nothing to replay: version {contract.version} of the contract has judged every delivery; raise its "
            "version, or say --again"
        )
        return
    rows = []
    for entry in done:
        moved = [f"{entry.before[name]:,} → {entry.after[name]:,}" for name in ("accepted", "refused")]
        rows.append([entry.file, *moved, f"{entry.released:,}", f"{len(entry.partitions):,}", entry.after["status"]])
    headings = [("file", False), ("accepted", True), ("refused", True), ("released", True), ("partitions", True)]
    print_table("", [*headings, ("status", False)], rows)
    released, changed = sum(entry.released for entry in done), {name for entry in done for name in entry.partitions}
    would = "would leave" if dry_run else "left"
    out.print(f"{released:,} rows {would} quarantine; {len(changed):,} partitions have other rows")
    if changed and not dry_run:
        out.print("next: `exchange run` builds what this touches; the receipts say what came of each delivery")


@app.command()
def doctor(
    swept: Annotated[
        bool, typer.Option("--sweep", help="Remove files that lead nowhere, in place of making the index again.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the index again from the lake, while nothing else runs; or sweep what no one reads."""
    from lakehouse.release.doctor import rebuild_index, sweep
    from lakehouse.sharing import iceberg_tables as iceberg
    from lakehouse.sharing.recipients import restore_recipients
    from lakehouse.storage import workplace

    exchange = Exchange.from_environment()
    exchange.index.create()
    if swept:
        found = asdict(sweep(exchange, dry_run=dry_run)) | {
            iceberg.BUCKET: iceberg.sweep(exchange, dry_run=dry_run),
            workplace.FOLDER: workplace.sweep(exchange.settings.home_path, dry_run=dry_run),
        }
        if as_json:
            print_json(found)
            return
        for bucket, keys in found.items():
            for key in keys:
                out.print(f"{bucket}/{key}")
        out.print(f"{sum(map(len, found.values())):,} files and folders {'would go' if dry_run else 'are gone'}")
        return
    rebuilt = rebuild_index(exchange, dry_run=dry_run)
    if not dry_run:
        restore_recipients(exchange)
    if as_json:
        print_json(asdict(rebuilt))
        return
    for problem in rebuilt.problems:
        out.print(problem)
    verb = "would name" if dry_run else "names"
    out.print(
        f"the index {verb} {rebuilt.deliveries:,} deliveries, {rebuilt.clean_files:,} clean files and "
        f"{rebuilt.releases:,} releases; {len(rebuilt.problems)} problems"
    )
