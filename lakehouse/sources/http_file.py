"""The connectors for files over HTTP: fetched again only where they changed; and for zips of GTFS schedules."""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import httpx

from lakehouse.contracts.extract import Gtfs, HttpFile
from lakehouse.contracts.extract_http import placeholders
from lakehouse.sources.http import Answer, HttpConnector, HttpSource
from lakehouse.sources.naming import compact, safe
from lakehouse.sources.page import Asked, Page
from lakehouse.sources.periods import periods
from lakehouse.sources.web_page import is_web_page

Validators = dict[str, str]
# How many files' validators a watermark holds: an interval reaches back over the newest few only.
_FILES_KNOWN = 50


def fetch_changed(
    http: HttpSource, url: httpx.URL, to: Path, *, known: Mapping[str, str] | None
) -> tuple[Answer, Validators] | None:
    """A file and what names its version; None where the source says that it is the version known."""
    headers = {}
    if known and known.get("etag"):
        headers["If-None-Match"] = known["etag"]
    elif known and known.get("last_modified"):
        headers["If-Modified-Since"] = known["last_modified"]
    answer = http.fetch(url, to, headers=headers)
    if not answer.changed:
        return None
    found = {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}
    validators = {key: value for key, value in found.items() if value}
    # A server that answers whole whatever the condition is not held to its word: the same bytes are not sealed twice.
    return answer, validators


def refuse_web_page(http: HttpSource, answer: Answer) -> None:
    """No dataset comes as HTML. Raises SourceError."""
    begins = http.begins(answer)
    if is_web_page(begins, answer.headers.get("Content-Type", "")):
        raise http.error(
            f"GET {answer.url} answered a web page where a file was due, {http.excerpt(begins)}: run the extract again "
            "later, or correct `path` in the contract's exchange.extract"
        )


class HttpFileConnector(HttpConnector[HttpFile]):
    """One file, or one for each period of the interval."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the files that changed, each standing by itself. Raises SourceError."""
        known: dict[str, Validators] = dict((asked.watermark or {}).get("files", {}))
        with self._http as http:
            for start, end in self._periods(asked):
                bounds = {"start": start, "end": end, "last": end - timedelta(microseconds=1)}
                parameters = {key: text.format(**bounds) for key, text in self._arguments.parameters.items()}
                url = http.url(self._arguments.path.format(**bounds), parameters)
                place = url.raw_path.decode()
                name = self._name(bounds)
                found = fetch_changed(http, url, asked.folder / name, known=known.get(place))
                if found is None:
                    continue
                answer, known[place] = found
                refuse_web_page(http, answer)
                known = dict(list(known.items())[-_FILES_KNOWN:])
                yield Page(
                    name=name,
                    path=answer.path,
                    rows=None,
                    url=http.shown(url),
                    fetched_at=answer.fetched_at,
                    watermark={"files": dict(known)},
                )

    def _periods(self, asked: Asked) -> Iterator[tuple[datetime, datetime]]:
        if self._arguments.every is None:
            yield asked.start.astimezone(UTC), asked.end.astimezone(UTC)
        else:
            yield from periods(asked.start, asked.end, self._arguments.every)

    def _name(self, bounds: Mapping[str, datetime]) -> str:
        """The file's own name; of templates the whole path, and the interval where only the query holds it."""
        path = self._arguments.path
        if placeholders(path):
            return safe(path.format(**bounds).strip("/").replace("/", "-"))
        name = PurePosixPath(path)
        if not self._arguments.by_interval:
            return safe(name.name)
        return safe(f"{name.stem}_{compact(bounds['start'])}_{compact(bounds['end'])}{name.suffix}")


class GtfsConnector(HttpConnector[Gtfs]):
    """The zip of a schedule."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the zip if it changed. Raises SourceError, also where it is no zip with the tables."""
        with self._http as http:
            url = http.url(self._arguments.path)
            name = safe(PurePosixPath(self._arguments.path).name)
            found = fetch_changed(http, url, asked.folder / name, known=asked.watermark)
            if found is None:
                return
            answer, validators = found
            self._look_into(answer)
            yield Page(
                name=name,
                path=answer.path,
                rows=None,
                url=http.shown(url),
                fetched_at=answer.fetched_at,
                watermark=validators,
            )

    def _look_into(self, answer: Answer) -> None:
        try:
            with zipfile.ZipFile(answer.path) as schedule:
                names = set(schedule.namelist())
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error):
            begins = self._http.excerpt(self._http.begins(answer))
            raise self._http.error(
                f"GET {answer.url} answered no zip but {begins}: check `path` in the contract's exchange.extract"
            ) from None
        if missing := sorted(set(self._arguments.tables) - names):
            raise self._http.error(
                f"GET {answer.url} answered a zip without {', '.join(missing)}, with {', '.join(sorted(names)[:20])}: "
                "if the publisher has no such table, set `tables`"
            )
