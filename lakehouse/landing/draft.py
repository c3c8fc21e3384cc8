"""Drafting a contract from a sample: everything that can be guessed is, and every guess is marked as one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.landing.guess_key import Key, guess_key, time_column
from lakehouse.landing.guess_meaning import privacy_of, snake_names, unit_of
from lakehouse.landing.guess_types import Guess, guess_signs, guess_types
from lakehouse.landing.sniff import SAMPLE_ROWS, Sniffed, sniff

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Rows a day from which a partition a day, or a month, is worth its file.
ROWS_FOR_DAY, ROWS_FOR_MONTH = 500, 5


def draft_contract(*, provider: str, dataset: str, sample: Path, folder: Path) -> str:
    """A commented ODCS document for ``contracts/<provider>/<dataset>.odcs.yaml``, valid as it stands.

    Every guess carries ``# guess: why``; no value of the sample is in it but the tokens for no value. The sample's
    first file is read, up to :data:`~lakehouse.landing.sniff.SAMPLE_ROWS` rows, and worked on in ``folder``.
    Raises ``ValueError`` for a name that the lake does not take, and
    :class:`~lakehouse.landing.refusal.DeliveryRefused` where the sample cannot be read.
    """
    for name in (provider, dataset):
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: use lower case letters, digits and _, as air_quality")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        sniffed = sniff(connection=connection, sample=sample, dataset=dataset, folder=folder)
        form, reasons = guess_signs(connection, sniffed.form, len(sniffed.columns))
        guesses, sniffed.form = guess_types(connection=connection, form=form, columns=sniffed.columns)
        sniffed.reasons |= reasons
        sniffed.reasons["null_values"] = "they stand where other rows have a number or a time"
        time = time_column(guesses)
        key = guess_key(connection=connection, guesses=guesses, time=time)
        partition = _partition(connection, time)
    names = dict(zip((guess.place for guess in guesses), snake_names(g.found.source for g in guesses), strict=True))
    classes = _classes(guesses)
    lines = [
        *_head(provider, dataset, sample, sniffed),
        *(line for guess in guesses for line in _column(guess, names[guess.place], classes[guess.place], key)),
        *_foot(provider, sniffed, time),
        *_time(time, names, partition),
        *_subject(key, names, classes),
        *_licence(provider),
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """A value as YAML, which reads JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _classes(guesses: list[Guess]) -> dict[str, tuple[str, str]]:
    def classified(guess: Guess, identified: bool) -> tuple[str, str]:
        length = 0 if guess.parse.geometry else guess.length
        return privacy_of(
            guess.found.source, identified=identified, time=guess.time, number=guess.number, length=length
        )

    identified = any(classified(guess, False)[0] == "identifier" for guess in guesses)
    return {guess.place: classified(guess, identified) for guess in guesses}


def _partition(connection: duckdb.DuckDBPyConnection, time: Guess | None) -> tuple[str, str]:
    if time is None:
        return "day", ""
    # The first part of a time, up to its clock, is its day in every form but that of a count.
    day = f"({time.place}::BIGINT // 86400)::VARCHAR" if time.parse.epoch == "seconds" else None
    if time.parse.epoch == "milliseconds":
        day = f"({time.place}::BIGINT // 86400000)::VARCHAR"
    day = day or f"left(trim({time.place}), 10)"
    rows, days = connection.execute(f"SELECT count(*), count(DISTINCT {day}) FROM sample_text").fetchall()[0]
    each = rows / max(days, 1)
    grain = "day" if each >= ROWS_FOR_DAY or days == 1 else "month" if each >= ROWS_FOR_MONTH else "year"
    return grain, f"the sample has {each:,.0f} rows a day"


def _head(provider: str, dataset: str, sample: Path, sniffed: Sniffed) -> Iterator[str]:
    title = dataset.replace("_", " ").capitalize()
    yield f"# Drafted from a sample ({sample.name}), of which up to {SAMPLE_ROWS:,} rows were read. Confirm each line"
    yield "# that is marked as a guess, take the mark out, and set the status to active."
    if sniffed.member:
        yield f"# The sample holds {sniffed.files} files; the one of the dataset's name was read."
    elif sniffed.files > 1:
        yield f"# The sample holds {sniffed.files} files; only the first was read. Are all of them of this dataset?"
    yield "apiVersion: v3.1.0"
    yield "kind: DataContract"
    yield f"id: {provider}.{dataset}"
    yield f"name: {_quoted(title)} # guess: from the dataset's name"
    yield "version: 0.1.0"
    yield "status: draft"
    yield f"tenant: {provider}"
    yield "description:"
    yield f"  purpose: {_quoted(title + ', as delivered.')} # guess: say what the data are and who uses them"
    yield "schema:"
    yield f"  - name: {dataset}"
    yield "    properties:"


def _column(guess: Guess, name: str, privacy: tuple[str, str], key: Key) -> Iterator[str]:
    in_key = guess in key.columns
    yield f"      - name: {_quoted(name)}"
    yield f"        physicalName: {_quoted(guess.found.source)}"
    yield f"        logicalType: {guess.logical} # guess: {guess.why}"
    if guess.physical:
        yield f'        physicalType: "{guess.physical}"'
    if in_key:
        yield "        required: true"
        yield f"        primaryKey: true # guess: {key.why}"
        yield f"        primaryKeyPosition: {key.columns.index(guess) + 1}"
    elif guess.nulls == 0:
        yield "        required: true # guess: the sample has a value in every row"
    yield f"        classification: {privacy[0]} # guess: {privacy[1]}"
    described = f"{guess.found.source}."
    yield f"        description: {_quoted(described)} # guess: the provider's name; say what it is"
    yield from _custom(guess)


def _custom(guess: Guess) -> Iterator[str]:
    rule = guess.parse.model_dump(mode="json", exclude_defaults=True)
    if not rule and not guess.number:
        return
    yield "        customProperties:"
    if guess.number:
        unit, why = ("s", "seconds of the day") if guess.parse.seconds_of_day else unit_of(guess.found.source)
        yield f"          - {{property: unit, value: {_quoted(unit)}}} # guess: {why}"
    if rule:
        why = "; ".join(filter(None, (guess.why, guess.zone_why)))
        yield f"          - {{property: parse, value: {_flow(rule)}}} # guess: {why}"


def _flow(mapping: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in mapping.items()) + "}"


def _foot(provider: str, sniffed: Sniffed, time: Guess | None) -> Iterator[str]:
    form = sniffed.form.model_dump(mode="json", exclude_defaults=True, exclude={"format"})
    yield "team:"
    yield f"  name: {_quoted(provider)} # guess: the provider's id; give its full name"
    yield "customProperties:"
    yield "  - property: exchange"
    yield "    value:"
    yield "      delivery:"
    if time:
        yield "        kind: events # guess: every row has a time"
    else:
        yield "        kind: snapshot # guess: no column dates every row, so it is a register"
    yield "        forms:"
    yield f"          - format: {sniffed.form.format} # guess: by the sample's content"
    for name, value in form.items():
        yield f"            {name}: {_quoted(value)} # guess: {sniffed.reasons.get(name, 'so the sample has it')}"
    if sniffed.member:
        yield f"        members: [{_quoted(sniffed.member)}] # guess: the file of the dataset's name"
    if sniffed.ignored:
        yield (
            f"        ignored_columns: {_quoted(sniffed.ignored)} "
            "# guess: lists, and columns without a name of their own, are not loaded"
        )


def _time(time: Guess | None, names: dict[str, str], partition: tuple[str, str]) -> Iterator[str]:
    if time is None:
        return
    yield "      time:"
    yield f"        column: {_quoted(names[time.place])} # guess: of the times without a gap the one that says most"
    yield f"        partition: {partition[0]} # guess: {partition[1]}"


def _subject(key: Key, names: dict[str, str], classes: dict[str, tuple[str, str]]) -> Iterator[str]:
    keys = {guess.place for guess in key.columns}
    places = [place for place, (privacy, _) in classes.items() if privacy == "identifier"]
    if places:
        chosen = min(places, key=lambda place: place not in keys)
        yield f"      subject: {_quoted(names[chosen])} # guess: the identifier that stands in the key, or the first"


def _licence(provider: str) -> Iterator[str]:
    yield "      corrections: newest_wins # guess: a row of the same key that comes later replaces the earlier one"
    yield "      licence:"
    yield "        id: LicenseRef-unconfirmed # guess: none is known; ask the provider"
    yield '        url: "https://spdx.org/licenses/" # guess: where licences are listed'
    yield f"        attribution: {_quoted(provider)} # guess: the provider's id; ask how it wants to be named"
