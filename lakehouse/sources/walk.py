"""One walk through the pages of a JSON API, whatever their form."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx

from lakehouse.sources.changes import ChangesSince
from lakehouse.sources.http import Answer, HttpSource
from lakehouse.sources.page import Asked, NotThere, Page, Watermark
from lakehouse.sources.paging import Paging


def walk(
    http: HttpSource,
    *,
    url: httpx.URL,
    paging: Paging,
    asked: Asked,
    stem: str,
    records_of: Callable[[Answer, Any], list[Any]],
    headers: Mapping[str, str] | None = None,
    watermark_of: Callable[[], Watermark] | None = None,
    changes: ChangesSince | None = None,
) -> Iterator[Page]:
    """The pages that hold records, in order.

    With `watermark_of` each page stands by itself. With `changes` pages without a new record are left out; and
    without `watermark_of` the last of them carries the watermark, for in no order only the whole is a step.
    Raises SourceError.
    """
    last: Page | None = None
    before: tuple[int, Any, Any] | None = None
    following: httpx.URL | None = paging.first(url)
    while following is not None:
        name = f"{stem}_{paging.place:06d}.json"
        try:
            answer = http.fetch(following, asked.folder / name, headers=headers)
        except NotThere as error:
            no_rows = error.status == 204 and paging.place == 0
            if not no_rows and not paging.is_past(error.status):
                raise
            break
        document = http.document(answer)
        records = records_of(answer, document)
        ends = (len(records), records[0], records[-1]) if len(records) > 1 else None
        if ends is not None and ends == before:
            raise http.error(
                f"GET {answer.url} gave the rows of the page before once more: the source does not know the parameter "
                "that asks for the next page; correct it in the contract's exchange.extract, or set `paging: none`"
            )
        before = ends
        fresh = bool(records) and (changes is None or changes.take(records))
        following = paging.after(http, answer, document, rows=len(records))
        if not fresh:
            answer.path.unlink()
            continue
        page = Page(
            name=name,
            path=answer.path,
            rows=len(records),
            url=http.shown(answer.url),
            fetched_at=answer.fetched_at,
            watermark=watermark_of() if watermark_of else None,
        )
        if changes is None or watermark_of:
            yield page
            continue
        if last:
            yield last
        last = page
    if last and changes:
        yield replace(last, watermark=changes.watermark)
