"""`exchange serve`, `exchange link`, `exchange export`: the doors, links that open for a while, a part as a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, out, print_json, writing
from lakehouse.exchange import Exchange
from lakehouse.settings import Settings
from lakehouse.sharing.links import LONGEST_HOURS


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; loopback unless you name another.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; default EXCHANGE_DOORS_PORT.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) for HTTPS.", exists=True, dir_okay=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", exists=True, dir_okay=False)] = None,
) -> None:
    """Open the doors: releases over HTTP or HTTPS, until Ctrl-C."""
    from lakehouse.orchestrate.approvals import answer_in_airflow
    from lakehouse.sharing.serve import serve as run

    if (certificate is None) is not (key is None):
        raise WrongUse("HTTPS needs both --certificate and --key")
    settings = Settings()
    # The catalogue names addresses below that of the doors.
    settings = settings if port is None else settings.model_copy(update={"doors_port": port})
    exchange, port = Exchange(settings), settings.doors_port
    exchange.init()
    out.print(f"the doors are at {'https' if certificate else 'http'}://{host}:{port}/ until Ctrl-C")
    run(exchange, host=host, port=port, certificate=certificate, key=key, answered=answer_in_airflow)


@app.command()
def link(
    name: Annotated[str | None, typer.Argument(metavar="[MART[@RELEASE]]")] = None,
    hours: Annotated[int, typer.Option(min=1, max=LONGEST_HOURS, help="Hours that it opens.")] = 24,
    file: Annotated[
        str | None, typer.Option(help="Only this file of the release, as day=2024-10-26/part-0.parquet.")
    ] = None,
    recipient: Annotated[str | None, typer.Option(help="Good only as long as this recipient may read it.")] = None,
    end_all: Annotated[
        bool, typer.Option("--end-all", help="Refuse every link made so far, by changing the key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an address that lets its holder read a release for a while, without a token; or end all of them."""
    from lakehouse.release.listing import find_release
    from lakehouse.sharing.entitlement import Link
    from lakehouse.sharing.links import Links, address_of
    from lakehouse.sharing.profile import doors_url
    from lakehouse.sharing.recipients import caller_by_name

    if (name is None) is not end_all:
        raise WrongUse("name a mart, or give --end-all")
    exchange = Exchange.from_environment()
    exchange.index.create()
    links = Links(exchange)
    if name is None:
        out.print(f"every link made so far is refused; links are now of epoch {links.end_all()}")
        return
    manifest = find_release(exchange, name)
    if file is not None and file not in {found.path for found in manifest.files}:
        raise WrongUse(f"{manifest.mart}@{manifest.release} has no file {file!r}")
    if recipient is not None and (fault := caller_by_name(exchange, recipient).fault):
        raise WrongUse(fault)
    until = datetime.now(UTC) + timedelta(hours=hours)
    made = Link(mart=manifest.mart, major=manifest.major, release=manifest.release, path=file, recipient=recipient)
    url = address_of(doors_url(exchange.settings), made, signed=links.sign(made, until=until))
    if as_json:
        print_json({"url": url, "expires_at": until.isoformat(timespec="seconds")})
    else:
        out.print(url)


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="MART[@RELEASE]")],
    file: Annotated[Path, typer.Argument(help="File to write: .csv, .geojson or .xlsx.", dir_okay=False)],
    where: Annotated[
        list[str] | None,
        typer.Option(help="Condition COLUMN=VALUE or COLUMN.OPERATOR=VALUE (eq ne lt lte gt gte in null); repeatable."),
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns, with commas.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Only so many rows.")] = None,
) -> None:
    """Write a filtered part of a release as csv, GeoJSON or xlsx."""
    from lakehouse.release.listing import find_release
    from lakehouse.sharing.extract import FORMS, NoPlace, TooLarge, check_size, part_of, place_columns, write_part
    from lakehouse.sharing.meter import count_staff
    from lakehouse.sharing.selection import WrongSelection, read_selection

    form = next((known for known in FORMS if file.suffix == f".{known}"), None)
    if form is None:
        raise WrongUse(f"{file.name}: name a file that ends in {', '.join(f'.{known}' for known in FORMS)}")
    exchange = Exchange.from_environment()
    exchange.index.create()
    manifest = find_release(exchange, name)
    asked = [text.partition("=")[::2] for text in where or ()]
    asked += [("columns", columns)] if columns is not None else []
    asked += [("limit", str(limit))] if limit is not None else []
    try:
        if form == "geojson":
            place_columns(manifest)
        part = part_of(exchange, manifest, read_selection(manifest, asked))
        check_size(part, form, most=part.rows)
    except (WrongSelection, NoPlace) as error:
        raise WrongUse(str(error)) from None
    except TooLarge as error:
        raise Refused(str(error)) from None
    with writing(file.parent):
        rows = write_part(part, form, file)
    count_staff(exchange, manifest, door="export", rows=rows, size=file.stat().st_size)
    out.print(f"{rows:,} rows of {manifest.mart}@{manifest.release} in {file}")
