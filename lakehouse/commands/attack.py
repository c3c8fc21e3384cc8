"""`exchange attack`: the attacks on what is released, on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
import typer

from lakehouse.commands.console import AsJson, WrongUse, app, print_json, print_table
from lakehouse.exchange import Exchange
from lakehouse.release.listing import find_release
from lakehouse.release.manifest import Manifest, read_candidate, read_manifest
from lakehouse.storage.index import releases

if TYPE_CHECKING:
    from lakehouse.privacy.attacks.outcome import Outcome


def attacked(exchange: Exchange, name: str | None) -> Iterator[Outcome]:
    """The attacks on one release (``mart`` or ``mart@release``), or with none named on every release of a mart made
    of private data. Cells go to the reviewers' report of the candidate that the release was made of."""
    # OpenDP and HiGHS take longer to load than any other command takes to run.
    from lakehouse.release.attack_gate import write_report
    from lakehouse.release.attacks import attack_release, attacked_policy
    from lakehouse.release.noise_gate import attack_noisy_release, dp_policy

    manifests = [find_release(exchange, name)] if name else _all(exchange)
    for manifest in manifests:
        made = read_candidate(exchange, mart=manifest.mart, candidate=manifest.candidate)
        noisy = dp_policy(manifest)
        if noisy is not None:
            outcomes = attack_noisy_release(exchange, manifest, noisy, set(made.built))
        elif attacked_policy(manifest) is not None:
            outcomes = attack_release(exchange, manifest)
        else:
            continue
        write_report(exchange, made, outcomes)
        yield from outcomes


def _all(exchange: Exchange) -> Iterator[Manifest]:
    rows = exchange.index.rows(sa.select(releases).order_by(releases.c.mart, releases.c.major, releases.c.release))
    for row in rows:
        yield read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])


@app.command()
def attack(
    name: Annotated[str | None, typer.Argument(metavar="[MART[@RELEASE]]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every release made of private data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Attack what is released, beside all other releases of the same units. No cell is named here."""
    if (name is None) is not everything:
        raise WrongUse("name a mart, or give --all")
    exchange = Exchange.from_environment()
    exchange.init()
    outcomes = list(attacked(exchange, name))
    if as_json:
        print_json([outcome.public for outcome in outcomes])
    else:
        columns = [("mart", False), ("release", False), ("attack", False), ("success", True), ("chance", True),
                   ("limit", True), ("", False), ("found", False)]  # fmt: skip
        rows = [
            [o.mart, o.release, o.attack, f"{o.success:.4g}", f"{o.chance:g}", f"{o.limit:g}",
             "passed" if o.passed else "FAILED", o.found]
            for o in outcomes
        ]  # fmt: skip
        print_table("", columns, rows or [["nothing personal is released there", *[""] * 7]])
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)
