"""The `exchange` command. Exit status: 0 done, 1 refused by a gate or a check, 2 wrong use."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from lakehouse.commands import (
    attack,
    catalog,
    diff,
    erasure,
    iceberg,
    keys,
    ledger,
    lineage,
    quality,
    rebuild,
    recipients,
    release,
    sharing,
    upkeep,
)
from lakehouse.commands.console import (
    REFUSED,
    WRONG_USE,
    AsJson,
    Refused,
    WrongUse,
    app,
    err,
    moment,
    out,
    print_json,
    print_progress,
    print_table,
    require_provider,
    writing,
)
from lakehouse.contracts.load import ContractError
from lakehouse.exchange import Exchange, UnknownDataset
from lakehouse.privacy.keys import KeyFault
from lakehouse.release.listing import NoSuchRelease, ReleaseGone
from lakehouse.settings import PROJECT, Settings, setting_faults
from lakehouse.storage.lake import StorageError

# Each module adds its commands.
__all__ = [
    "app",
    "attack",
    "catalog",
    "diff",
    "erasure",
    "iceberg",
    "keys",
    "ledger",
    "lineage",
    "main",
    "quality",
    "rebuild",
    "recipients",
    "release",
    "sharing",
    "upkeep",
]


def main() -> None:
    """Entry point; errors that a person can mend are printed without a traceback."""
    try:
        app()
    except ContractError as error:
        for fault in error.faults:
            err.print(str(fault))
        sys.exit(REFUSED)
    except (Refused, ReleaseGone) as error:
        err.print(str(error))
        sys.exit(REFUSED)
    except (StorageError, OperationalError, KeyFault, duckdb.IOException) as error:
        err.print(str(error).splitlines()[0])
        sys.exit(REFUSED)
    except (WrongUse, UnknownDataset, NoSuchRelease) as error:
        err.print(str(error))
        sys.exit(WRONG_USE)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        err.print("\n".join(setting_faults(error)))
        sys.exit(WRONG_USE)


@app.command()
def init() -> None:
    """Make the lake, its buckets and the index that the contracts and settings call for."""
    exchange = Exchange.from_environment()
    buckets = exchange.init()
    out.print(f"lake {exchange.settings.lake_url} with {len(buckets)} buckets: {', '.join(buckets)}")


@app.command("new-source")
def new_source(
    source: Annotated[str, typer.Argument(metavar="PROVIDER/DATASET")],
    sample: Annotated[Path, typer.Option("--from", help="A sample delivery.", exists=True, dir_okay=False)],
) -> None:
    """Draft a contract from a sample; every guess is marked as one."""
    from lakehouse.contracts.load import SUFFIX
    from lakehouse.landing.draft import draft_contract
    from lakehouse.landing.refusal import DeliveryRefused
    from lakehouse.storage.workplace import workplace

    provider, _, dataset = source.partition("/")
    settings = Settings()
    path = settings.contracts_path / provider / f"{dataset}{SUFFIX}"
    if not provider or not dataset:
        raise WrongUse("name the source as PROVIDER/DATASET, as aarhus/parking")
    if path.exists():
        raise WrongUse(f"{path} stands already; it is not overwritten")
    try:
        # The sample may be of people.
        with workplace(settings.home_path, "draft") as folder:
            text = draft_contract(provider=provider, dataset=dataset, sample=sample, folder=folder)
    except DeliveryRefused as error:
        raise Refused(f"{sample.name}: {error}") from None
    except ValueError as error:
        raise WrongUse(str(error)) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    kept = path.parent / "samples" / f"{dataset}{''.join(sample.suffixes)}"
    out.print(f"drafted {path}: {text.count('# guess')} guesses, each marked '# guess'")
    out.print(f"next: confirm each guess, put a small made-up sample at {kept}, then `exchange check {source}`")


@app.command()
def check(
    source: Annotated[str | None, typer.Argument(metavar="[PROVIDER/DATASET]")] = None,
    as_json: AsJson = False,
) -> None:
    """Validate contracts, marts, suites and DAGs, and run each sample through intake, offline."""
    from lakehouse.orchestrate.checks import check_project

    faults, counted = check_project(Settings(), only=source)
    if as_json:
        print_json(faults)
    else:
        for fault in faults:
            out.print(f"{fault['file']}:{fault['line']}: {fault['field']}: {fault['problem']}")
        out.print(
            f"checked {counted}: {len(faults)} fault{'' if len(faults) == 1 else 's'}"
            if faults
            else f"checked {counted}: all is well"
        )
    if faults:
        raise typer.Exit(REFUSED)


@app.command()
def drop(
    source: Annotated[str, typer.Argument(metavar="PROVIDER/DATASET")],
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Deliver files into a provider's inbox, as the provider would."""
    from lakehouse.orchestrate.inputs import drop as deliver

    exchange = Exchange.from_environment()
    exchange.init()
    for key in deliver(exchange, exchange.contract(source), files):
        out.print(f"delivered {key}; `exchange run` or the dataset's DAG takes it in")


@app.command()
def run(
    inputs: Annotated[Path | None, typer.Option(help="Folder <provider>/<dataset>/<files>.", file_okay=False)] = None,
    mart: Annotated[list[str] | None, typer.Option(help="Build only this mart; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """The main job through Airflow: land all that waits, build what it touches, gate, release."""
    from lakehouse.orchestrate.airflow_client import RunFailed
    from lakehouse.orchestrate.airflow_process import AirflowNotStarted
    from lakehouse.orchestrate.main_job import run as run_job
    from lakehouse.orchestrate.report import print_outcome

    settings = Settings()
    known = sorted(path.stem for path in settings.marts_path.glob("*.yml"))
    if unknown := set(mart or ()) - set(known):
        raise WrongUse(f"no mart {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    if mart:
        settings = settings.model_copy(update={"marts": ",".join(mart)})
    folder = inputs or settings.inputs or _shared_inputs()
    if folder is not None and not folder.is_dir():
        raise WrongUse(f"{folder} is no folder with deliveries")
    try:
        outcome = run_job(Exchange(settings), inputs=folder, progress=print_progress)
    except (AirflowNotStarted, RunFailed) as error:
        raise Refused(str(error)) from None
    if as_json:
        print_json(
            {
                "inputs": outcome.inputs,
                "deliveries": outcome.deliveries,
                "marts": outcome.marts,
                "gates": outcome.gates,
                "failures": outcome.failures,
                "notes": outcome.notes,
                "seconds": outcome.seconds,
            }
        )
    else:
        print_outcome(out, outcome)
    if outcome.refused:
        raise typer.Exit(REFUSED)


def _shared_inputs() -> Path | None:
    shared = PROJECT.parent / "shared" / "data"
    return shared if shared.is_dir() else None


@app.command()
def receipts(
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]")] = None, as_json: AsJson = False
) -> None:
    """What came of each delivery, the newest last."""
    from lakehouse.landing.listing import list_receipts

    exchange = Exchange.from_environment()
    exchange.index.create()
    found = list_receipts(exchange, provider=provider)
    if not found:
        require_provider(exchange, provider)
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("no delivery has come to a receipt yet; `exchange run` or `exchange drop` begins")
        return
    counts = ["delivered", "accepted", "refused", "duplicates", "corrections"]
    rows = [
        [f"{r['provider']}/{r['dataset']}", r["file"], *(f"{r[name]:,}" for name in counts), r["status"]] for r in found
    ]
    headings = [("dataset", False), ("file", False), *((name, True) for name in counts), ("status", False)]
    print_table("", headings, rows)
    for receipt in found:
        for number, fault in enumerate(receipt["errors"]):
            if fault["first_line"] is None or (number == 0 and receipt["status"] == "refused"):
                out.print(f"{receipt['file']}: {fault['rule']}: {fault['expected']} {fault['advice']}")
                continue
            column = f", column {fault['source_column']!r}" if fault.get("source_column") else ""
            value = f": {fault['value']}" if fault["value"] is not None else f", expected {fault['expected']}"
            where = f"{fault['rows']:,} rows, first line {fault['first_line']}{column}"
            out.print(f"{receipt['file']}: {fault['rule']}: {where}{value}")


@app.command()
def releases(
    mart: Annotated[str | None, typer.Argument(metavar="[MART]")] = None,
    as_of: Annotated[str | None, typer.Option(help="Only what was the newest at this time, as 2024-10-10.")] = None,
    as_json: AsJson = False,
) -> None:
    """What has been published."""
    from lakehouse.release.listing import list_releases

    exchange = Exchange.from_environment()
    exchange.index.create()
    found = list_releases(exchange, mart=mart, as_of=moment(as_of) if as_of else None)
    if as_json:
        print_json(found)
        return
    rows = []
    for r in found:
        name = r["release"] + (" *" if r["latest"] else "")
        numbers = [f"{r['rows']:,}", f"{r['bytes']:,}"]
        rows.append([r["mart"], f"v{r['major']}", name, r["status"], *numbers, r["created_at"][:19]])
    headings = [("mart", False), ("major", False), ("release (* latest)", False), ("status", False)]
    print_table("", [*headings, ("rows", True), ("bytes", True), ("created, UTC", False)], rows)
    out.print("`exchange show MART` says where a release stands and what is in it.")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="MART[@RELEASE]")], as_json: AsJson = False) -> None:
    """One release with its columns, inputs and gates."""
    from lakehouse.orchestrate.report import print_release
    from lakehouse.release.listing import find_release, location
    from lakehouse.release.manifest import release_prefix
    from lakehouse.release.notices import remarks

    exchange = Exchange.from_environment()
    exchange.index.create()
    manifest = find_release(exchange, name, gone=True)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    place = location(exchange, release_prefix(manifest.mart, manifest.major, manifest.release))
    report = exchange.lake.duckdb_url("reports", f"{manifest.mart}/{manifest.release}/index.html")
    print_release(out, manifest, place=place, report=report)
    for remark in remarks(exchange, manifest):
        out.print(f"note         {remark}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="MART[@RELEASE]")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("."),
    form: Annotated[str, typer.Option("--format", help="parquet or csv")] = "parquet",
    key: Annotated[
        Path | None, typer.Option(help="The public key that you trust, a PEM file.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Fetch a release; verify its signature and check every hash."""
    from lakehouse.catalog.beside import describe_folder
    from lakehouse.release.fetch import fetch
    from lakehouse.release.listing import find_release
    from lakehouse.release.notices import remarks
    from lakehouse.release.signing import Untrusted, load_public_key
    from lakehouse.sharing.meter import count_staff

    if form not in ("parquet", "csv"):
        raise WrongUse(f"no format {form!r}: parquet or csv")
    exchange = Exchange.from_environment()
    exchange.index.create()
    manifest = find_release(exchange, name)
    try:
        trusted = load_public_key(key.read_bytes(), shown=str(key)) if key else None
        with writing(to):
            folder = fetch(exchange, manifest, to=to, form=form, key=trusted, progress=print_progress)
    except Untrusted as error:
        raise Refused(str(error)) from None
    count_staff(exchange, manifest, door="get", rows=manifest.rows, size=manifest.bytes)
    if form == "parquet":
        describe_folder(manifest, folder, exchange.settings)
    out.print(
        f"{manifest.rows:,} rows of {manifest.mart}@{manifest.release} in {folder}: signed with key "
        f"{manifest.signed_with}, every hash checked"
    )
    for remark in remarks(exchange, manifest):
        out.print(f"note: {remark}")


@app.command()
def simulate(
    to: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    households: Annotated[int, typer.Option(min=1)] = 400,
    days: Annotated[int, typer.Option(min=1)] = 31,
    start: Annotated[str, typer.Option(help="First day, as 2024-10-10.")] = "2024-10-10",
    seed: int = 1,
    stations: Annotated[int, typer.Option(min=1)] = 40,
    riders: Annotated[int, typer.Option(min=1, help="People who use shared bicycles.")] = 8000,
    quirks: Annotated[bool, typer.Option(help="With the faults that real deliveries have.")] = True,
    file_format: Annotated[str, typer.Option("--format", help="csv or parquet, of the meter readings")] = "csv",
    dataset: Annotated[list[str] | None, typer.Option(help="Only this PROVIDER/DATASET; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a city's deliveries: the same arguments give the same bytes."""
    from dataclasses import asdict

    from lakehouse.simulate.city import City
    from lakehouse.simulate.deliveries import DATASETS
    from lakehouse.simulate.deliveries import simulate as make

    if file_format not in ("csv", "parquet"):
        raise WrongUse(f"no format {file_format!r}: csv or parquet")
    try:
        first = date.fromisoformat(start)
    except ValueError:
        raise WrongUse(f"{start!r} is no day, as 2024-10-10") from None
    city = City(
        households=households, days=days, start=first, seed=seed, stations=stations, riders=riders, quirks=quirks,
        file_format="csv" if file_format == "csv" else "parquet",
    )  # fmt: skip
    with writing(to):
        written = make(city=city, out=to, datasets=dataset or DATASETS, progress=print_progress)
    if as_json:
        print_json([asdict(entry) for entry in written])
    else:
        print_table("", [("dataset", False), ("rows", True), ("file", False)],
               [[f"{w.provider}/{w.dataset}", f"{w.rows:,}", str(w.path)] for w in written])  # fmt: skip


@app.command(context_settings={"ignore_unknown_options": True})
def airflow(
    command: Annotated[list[str] | None, typer.Argument(help="A command of Airflow's own, as `dags list`.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of its pages; 0 takes a free one.")] = None,
) -> None:
    """Start Airflow on this project, on loopback, until Ctrl-C; or run one of Airflow's own commands on it."""
    from lakehouse.orchestrate.stay import airflow_command, stay

    exchange = Exchange.from_environment()
    if command:
        raise typer.Exit(airflow_command(exchange, command))
    stay(exchange, port=port, inputs=_shared_inputs(), say=out.print)
