"""Sources that hold whole files: which of those listed are new since the watermark, and one page for each."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lakehouse.sources.page import Asked, Page, SourceError

_LONGEST = 200  # bytes
# After so many that it does not give, a source most likely gives none.
_MOST_REFUSED = 1000


class FileRefused(SourceError):
    """The source does not give one of its files, and may well give the others."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file of a source: `name` below the place that was listed, and what tells its versions apart."""

    name: str
    version: str


Fetch = Callable[[Listed, Path], bool]


def new_files(listed: Iterable[Listed], asked: Asked, *, address: str, fetch: Fetch) -> Iterator[Page]:
    """Yield a page for each file whose version was not read before.

    The watermark holds the version of every file that is still there. `fetch`: see `fetched`.
    """
    files = list(listed)
    before = (asked.watermark or {}).get("files", {})
    known = {file.name: before[file.name] for file in files if file.name in before}
    new = [file for file in files if known.get(file.name) != file.version]
    for file, _ in fetched(new, asked, fetch):
        known[file.name] = file.version
        yield file_page(file, asked, address=address, watermark={"files": dict(known)})


def fetched(files: Iterable[Listed], asked: Asked, fetch: Fetch) -> Iterator[tuple[Listed, bool]]:
    """Yield the files that came, and whether none before was refused.

    `fetch` writes a file, and answers whether it is the one that was listed: one that is gone or was changed meanwhile
    is left for the next time. One that it raises FileRefused for holds up no other; the first is raised at the end.
    """
    refused: list[FileRefused] = []
    for file in files:
        try:
            came = fetch(file, asked.folder / page_name(file.name))
        except FileRefused as error:
            refused.append(error)
            if len(refused) == _MOST_REFUSED:
                break
            continue
        if came:
            yield file, not refused
    if refused:
        raise refused[0]


def file_page(file: Listed, asked: Asked, *, address: str, watermark: dict[str, object]) -> Page:
    """The page of a file that was fetched into the folder of what was asked."""
    name = page_name(file.name)
    return Page(
        name=name,
        path=asked.folder / name,
        rows=None,
        url=f"{address.rstrip('/')}/{file.name}",
        fetched_at=datetime.now(UTC),
        watermark=watermark,
    )


def page_name(name: str) -> str:
    """A name below a place as one file name, which may not be as long as a key."""
    plain = name.replace("/", "_")
    if len(plain.encode()) <= _LONGEST:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{digest}_{plain.encode()[-_LONGEST + 13 :].decode(errors='ignore')}"
