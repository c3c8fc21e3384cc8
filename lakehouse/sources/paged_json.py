"""The connector for paged JSON APIs over HTTP: complete, in order, verbatim, or a SourceError."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import httpx

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.sources.changes import ChangesSince
from lakehouse.sources.http import Answer, HttpConnector
from lakehouse.sources.naming import compact, file_stem, safe
from lakehouse.sources.page import Asked, Page, SourceError
from lakehouse.sources.paging import (
    ByLink,
    ByPlace,
    NextLink,
    OnePage,
    Paging,
    Stuck,
    at,
    body_link,
    cursor,
    for_good,
    header_link,
    list_at,
    names_next,
)
from lakehouse.sources.walk import walk


class PagedJsonConnector(HttpConnector[PagedJsonApi]):
    """Pages of one dataset, each row once."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the pages of the interval, whose bounds must have a time zone and fit `time_format`; of what was
        changed since the watermark; or of the whole set.

        No page comes where there are no rows. Raises SourceError.
        """
        arguments = self._arguments
        parameters, stem = dict(arguments.parameters), file_stem(arguments.path)
        changes = None
        if arguments.by_interval:
            parameters |= self._bounds(asked)
            stem = f"{stem}_{compact(asked.start)}_{compact(asked.end)}"
        elif arguments.changes:
            changes = ChangesSince(
                value=arguments.changes.value,
                watermark=asked.watermark,
                ordered=arguments.changes.ordered,
                counter=arguments.changes.counter,
            )
            if changes.asked_since is not None:
                parameters[arguments.changes.parameter] = str(changes.asked_since)
                stem = f"{stem}_since_{safe(str(changes.asked_since))}"
        if not arguments.numbered and arguments.limit_parameter:
            parameters[arguments.limit_parameter] = str(arguments.page_size)
        with self._http as http:
            yield from walk(
                http,
                url=http.url(arguments.path, parameters),
                paging=self._paging(changes),
                asked=asked,
                stem=stem,
                records_of=self._records,
                changes=changes,
                watermark_of=(lambda: changes.watermark) if changes and changes.ordered else None,
            )

    def _paging(self, changes: ChangesSince | None) -> Paging:
        arguments = self._arguments
        if arguments.numbered:
            by_number = arguments.paging == "page_number"
            return ByPlace(
                parameter=arguments.page_parameter if by_number else arguments.offset_parameter,
                limit_parameter=arguments.limit_parameter or "",
                page_size=arguments.page_size,
                total_of=self._total if arguments.total else None,
                first_page=arguments.first_page if by_number else None,
            )
        at_most = arguments.page_size if arguments.limit_parameter else None
        # Changes in order go on behind the last row that came, however many there are; but not behind rows of one
        # moment that fill a page, for the next extract begins with them.
        ordered = changes is not None and changes.ordered
        stuck: Stuck = changes.stuck if changes and ordered else for_good
        if arguments.paging == "none":
            total = None if ordered or at_most is None else arguments.total
            return OnePage(at_most=at_most, total=total, stuck=stuck)
        links: dict[str, NextLink] = {
            "cursor": cursor(arguments.next or "", arguments.cursor_parameter),
            "next_url": body_link(arguments.next or ""),
            "link_header": header_link,
        }
        says = names_next(None if arguments.paging == "link_header" else arguments.next)
        return ByLink(links[arguments.paging], full=at_most, says_of=says, stuck=stuck)

    def _bounds(self, asked: Asked) -> dict[str, str]:
        """The interval as query parameters."""
        start, end, form = asked.start, asked.end, self._arguments.time_format
        if start.tzinfo is None or end.tzinfo is None or start >= end:
            raise SourceError(f"interval [{start}, {end}): give a start before an end, both with a time zone")
        bounds = {}
        for key, bound in (
            (self._arguments.start_parameter, start.astimezone(UTC)),
            (self._arguments.end_parameter, end.astimezone(UTC)),
        ):
            if key is None:
                continue
            if self._arguments.last_bound(bound) != bound:
                # A rounded bound would ask for another interval than the one that is recorded.
                raise SourceError(f"{key} {bound} cannot be written as {form!r}: choose bounds that fit")
            bounds[key] = bound.strftime(form)
        return bounds

    def _records(self, answer: Answer, document: Any) -> list[Any]:
        arguments = self._arguments
        if arguments.records and not isinstance(document, dict):
            raise self._http.error(
                f"GET {answer.url} answered a JSON {type(document).__name__} where an object was due"
            )
        records = list_at(document, arguments.records)
        if not isinstance(records, list):
            raise self._malformed(answer.url, document)
        return records

    def _total(self, answer: Answer, document: Any) -> int:
        total = at(document, self._arguments.total or "")
        if type(total) is not int:
            raise self._malformed(answer.url, document)
        return total

    def _malformed(self, url: httpx.URL, document: Any) -> SourceError:
        arguments = self._arguments
        shape = f"an object with the keys {sorted(document)}" if isinstance(document, dict) else "a list"
        total = f" and {arguments.total!r} a whole number" if arguments.numbered and arguments.total else ""
        return self._http.error(
            f"GET {url} answered {shape}, where {arguments.records!r} should be a list{total}: "
            "set `records` and `total` in the contract's exchange.extract"
        )
