"""Commands of whoever answers for what is published: approve, refuse, desk, roll back, yank, pin, retention."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, err, out, print_json, print_table
from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.exchange import Exchange
from lakehouse.sharing.links import LONGEST_HOURS

if TYPE_CHECKING:
    from lakehouse.release.approval import Verdict

MartName = Annotated[str, typer.Argument(metavar="MART")]
ReleaseName = Annotated[str, typer.Argument(metavar="MART@RELEASE")]
Reason = Annotated[str, typer.Option(help="Why; it is kept. No personal data.")]
By = Annotated[str | None, typer.Option(help="Who says so; by default the name of your account on this machine.")]


def _who(by: str | None) -> str:
    return by or getpass.getuser()


def _why(reason: str) -> str:
    if not reason.strip():
        raise WrongUse("say why: the reason is kept, and readers are told it")
    return reason.strip()


def _opened() -> Exchange:
    exchange = Exchange.from_environment()
    exchange.index.create()
    return exchange


def _mart(exchange: Exchange, name: str) -> Mart:
    marts = read_marts(exchange.settings.marts_path)
    if name not in marts:
        raise WrongUse(f"no mart {name!r}; there are: {', '.join(sorted(marts))}")
    return marts[name]


def _parts(name: str) -> tuple[str, str]:
    mart, _, release = name.partition("@")
    if not release:
        raise WrongUse(f"name the release too, as {mart}@0003; `exchange releases {mart}` lists them")
    return mart, release


def _bring_doors(exchange: Exchange, mart: str) -> None:
    from lakehouse.sharing.follow import bring_doors

    if (failed := bring_doors(exchange, mart=mart)) is not None:
        err.print(failed)


@app.command()
def candidates(
    mart: Annotated[str | None, typer.Argument(metavar="[MART]")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were released, blocked, refused …")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What waits for an approval, with its report and what it changes."""
    from lakehouse.release.approval import list_candidates

    exchange = _opened()
    found = list_candidates(exchange, everything=everything, mart=mart)
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("no candidate waits for an approval")
        return
    rows = [
        [r["mart"], r["candidate"], r["status"], r["base"] or "–", f"{r['partitions']:,}", f"{r['rows']:,}"]
        for r in found
    ]
    headings = [("mart", False), ("candidate", False), ("status", False), ("built on", False), ("partitions", True)]
    print_table("", [*headings, ("rows in them", True)], rows)
    for r in found:
        out.print(f"{r['candidate']}: built because {r['because']}; {r['reason'] or r['status']}")
        for warning in r["warnings"]:
            out.print(f"  warning: {warning}")
        bucket, _, key = r["report"].partition("/")
        out.print(f"  report: {exchange.lake.duckdb_url(bucket, key)}")
        if r["status"] == "waiting":
            out.print(f"  answer: exchange approve {r['mart']} {r['candidate']} --reason …, or exchange refuse …")


@app.command()
def approve(
    mart: MartName,
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE")],
    reason: Reason,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a candidate that waits become a release."""
    _answer(mart, candidate, "approved", reason, by, as_json)


@app.command()
def refuse(
    mart: MartName,
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE")],
    reason: Reason,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a candidate that waits; the former release stands."""
    _answer(mart, candidate, "refused", reason, by, as_json)


@app.command()
def desk(
    name: Annotated[str, typer.Argument(metavar="REVIEWER", help="Whose answers are kept under that name.")],
    hours: Annotated[int, typer.Option(min=1, max=LONGEST_HOURS, help="Hours that it opens.")] = 12,
) -> None:
    """Make an address at the doors where one reviewer reads what waits, and approves or refuses it."""
    from lakehouse.sharing.desk import desk_address
    from lakehouse.sharing.links import Links
    from lakehouse.sharing.profile import doors_url

    exchange = _opened()
    if not name.strip():
        raise WrongUse("name the reviewer: answers are kept with a name")
    pass_ = Links(exchange).sign_desk(name.strip(), until=datetime.now(UTC) + timedelta(hours=hours))
    out.print(desk_address(doors_url(exchange.settings), pass_), soft_wrap=True)


def _answer(name: str, candidate: str, verdict: Verdict, reason: str, by: str | None, as_json: bool) -> None:
    from lakehouse.orchestrate.approvals import answer_in_airflow
    from lakehouse.release.approval import NotWaiting
    from lakehouse.release.promote import NotPromotable
    from lakehouse.sharing.follow import answer_and_follow

    exchange = _opened()
    mart = _mart(exchange, name)
    try:
        outcome = answer_and_follow(
            exchange, mart=mart, candidate=candidate, verdict=verdict, by=_who(by), reason=reason, through="command",
            warn=err.print,
        )  # fmt: skip
    except (NotWaiting, NotPromotable) as error:
        raise Refused(str(error)) from None
    except ValueError as error:
        raise WrongUse(str(error)) from None
    told = answer_in_airflow(exchange)
    if as_json:
        print_json(outcome)
        return
    held = outcome["decision"]
    out.print(f"{name}: candidate {candidate} was {held['verdict']} by {held['by']}: {held['reason']}")
    out.print(f"{name}: {outcome['status']}" + (f" as {outcome['release']}" if outcome["release"] else ""))
    if told:
        out.print(f"Airflow was told: {told} waiting run{'' if told == 1 else 's'} went on")
    if held["verdict"] != verdict:
        raise Refused(f"it had been answered before, through {held['through']} at {held['at']}: that answer holds")


@app.command()
def rollback(
    mart: MartName,
    release: Annotated[str, typer.Argument(metavar="RELEASE")],
    reason: Reason,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Move a mart's pointer back to an earlier release."""
    from lakehouse.release.withdraw import NotWithdrawable
    from lakehouse.release.withdraw import rollback as move

    exchange = _opened()
    try:
        found = move(exchange, mart=mart, release=release, by=_who(by), reason=_why(reason))
    except NotWithdrawable as error:
        raise Refused(str(error)) from None
    _bring_doors(exchange, mart)
    if as_json:
        print_json(found)
        return
    left = f"; {found['left']} can still be read by its name" if found["left"] else ""
    out.print(f"{mart} v{found['major']}: the newest is now {found['release']}{left}")
    if found["left"]:
        out.print("the next release waits for an approval, for it could say again what was taken back")


@app.command()
def yank(name: ReleaseName, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Take a release that turned out wrong out of every door; it stays in the record."""
    from lakehouse.release.withdraw import yank as take_out

    exchange = _opened()
    mart, release = _parts(name)
    found = take_out(exchange, mart=mart, release=release, by=_who(by), reason=_why(reason))
    _bring_doors(exchange, mart)
    if as_json:
        print_json(found)
        return
    out.print(f"{mart}@{found['release']} is gone from the doors; its manifest and the reason stay")
    out.print(f"{mart} v{found['major']}: the newest is {found['newest'] or 'none: nothing good is left'}")
    for other in found["also_in"]:
        out.print(f"{mart}@{other} holds files that {found['release']} brought: look whether it is wrong too")


@app.command()
def pin(name: ReleaseName, reason: Reason, by: By = None) -> None:
    """Keep a release for ever: retention leaves it alone."""
    from lakehouse.release.retention import pin as keep

    mart, release = _parts(name)
    standing = keep(_opened(), mart=mart, release=release, by=_who(by), reason=_why(reason))
    out.print(f"{mart}@{standing.release} is pinned")


@app.command()
def unpin(name: ReleaseName, reason: Reason, by: By = None) -> None:
    """Let retention have a pinned release again."""
    from lakehouse.release.retention import unpin as let_go

    mart, release = _parts(name)
    standing = let_go(_opened(), mart=mart, release=release, by=_who(by), reason=_why(reason))
    out.print(f"{mart}@{standing.release} is not pinned")


@app.command()
def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Remove them, in place of only saying which.")] = False,
    days: Annotated[int | None, typer.Option(min=1, help="Other days than EXCHANGE_RETENTION_DAYS.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which releases are past their retention; with --apply their files are removed, the record stays."""
    from lakehouse.release.retention import retention as find

    exchange = _opened()
    kept = days or exchange.settings.retention_days
    found = find(exchange, now=datetime.now(UTC), days=kept, apply=apply)
    for mart in sorted({past.mart for past in found}) if apply else ():
        _bring_doors(exchange, mart)
    if as_json:
        entries: list[dict[str, Any]] = [asdict(past) for past in found]
        print_json(entries)
        return
    rows = [[p.mart, f"v{p.major}", p.release, f"{p.created_at:%Y-%m-%d}", f"{p.bytes:,}"] for p in found]
    if rows:
        headings = [("mart", False), ("major", False), ("release", False), ("created", False), ("bytes", True)]
        print_table("", headings, rows)
    verb = "are removed; manifests and signatures stay" if apply else "would be removed by --apply"
    out.print(
        f"files of {len(found):,} releases {verb}. Kept: all of {kept} days, then the last of each month, pinned ones"
    )
