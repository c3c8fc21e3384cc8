"""The ways in which an API cuts a set into pages, and how one knows that none is missing."""

from collections.abc import Callable
from typing import Any, Protocol

import httpx

from lakehouse.sources.http import Answer, HttpSource

# Where the next page is: an absolute or relative URL, or None at the end.
NextLink = Callable[[HttpSource, Answer, Any], httpx.URL | None]
# What is to be said of rows behind which the rest would not come; None where it comes with the next extract.
Stuck = Callable[[], str | None]
# In a row, of a source that names the next page itself: some sift rows out, but none so many.
MOST_EMPTY_PAGES = 1000


def for_good() -> str:
    """Of a source that is not gone on with: what this answer lacks comes with no other."""
    return ""


class Paging(Protocol):
    """One walk through one set, from its first page to its last."""

    def first(self, url: httpx.URL) -> httpx.URL:
        """The request for the first page."""
        ...

    def after(self, http: HttpSource, answer: Answer, document: Any, *, rows: int) -> httpx.URL | None:
        """The request for the page behind this one, or None. Raises SourceError if a page cannot be right."""
        ...

    @property
    def place(self) -> int:
        """What tells the page last asked for from the others of the walk."""
        ...

    def is_past(self, status: int) -> bool:
        """Whether a page that the source answered so lies behind the end."""
        ...


class ByPlace:
    """Pages by offset, or by number: each is asked for by where it stands in the set, whose order is fixed.

    `total_of` reads the number of rows of the set from an answer. If the set moves between two pages (another
    total, a page of another length) the extract is refused rather than patched. Without totals the first page
    that is not full is the last; where none was full, what lies behind it is asked for, for the source may cap
    its pages.
    """

    def __init__(
        self,
        *,
        parameter: str,
        limit_parameter: str,
        page_size: int,
        total_of: Callable[[Answer, Any], int] | None,
        first_page: int | None = None,
        offset: int = 0,
    ) -> None:
        """`first_page`: pages are numbered, from this on. `offset`: rows to begin behind."""
        self._parameter, self._limit_parameter, self._page_size = parameter, limit_parameter, page_size
        self._total_of, self._first_page = total_of, first_page
        self._offset, self._total = offset, None if total_of else -1
        self._was_full, self._may_be_past = False, False

    @property
    def place(self) -> int:
        return self._offset

    def first(self, url: httpx.URL) -> httpx.URL:
        place = self._offset if self._first_page is None else self._first_page + self._offset // self._page_size
        return url.copy_merge_params({self._parameter: str(place), self._limit_parameter: str(self._page_size)})

    def after(self, http: HttpSource, answer: Answer, document: Any, *, rows: int) -> httpx.URL | None:
        if self._total_of is None:
            return self._uncounted(http, answer, rows)
        total = self._total_of(answer, document)
        if self._total is not None and total != self._total:
            raise http.error(
                f"GET {answer.url} counts {total} rows where the page before counted {self._total}: "
                "the set moved while paging; run the extract again"
            )
        expected = max(0, min(self._page_size, total - self._offset))
        if rows != expected:
            raise http.error(
                f"GET {answer.url} gave {rows} rows of {total} where {expected} were due: the set moved while "
                f"paging (run the extract again) or the source caps its pages (set page_size to its cap)"
            )
        self._total = total
        self._offset += rows
        return self.first(answer.url) if self._offset < total else None

    def is_past(self, status: int) -> bool:
        """Behind a full page 204 and 404 alone say so: others are said of places too far for the source, too."""
        return self._may_be_past and (status in (204, 404) or not self._was_full)

    def _uncounted(self, http: HttpSource, answer: Answer, rows: int) -> httpx.URL | None:
        if rows > self._page_size:
            raise http.error(f"GET {answer.url} gave {rows} rows where {self._page_size} were due at most")
        if rows and self._may_be_past and not self._was_full:
            raise http.error(
                f"GET {answer.url} gave {rows} rows behind a page that was not full: the source caps its pages; "
                "set page_size to its cap"
            )
        if rows < self._page_size and (self._was_full or not rows):
            return None
        self._was_full |= rows == self._page_size
        self._may_be_past = True
        self._offset += rows if self._was_full or self._first_page is None else self._page_size
        return self.first(answer.url)


class ByLink:
    """Each answer says where the next page is. `total_of`: rows of the whole set, where the answers count them.

    A first page of `full` rows that does not even say (`says_of`) that there is no next is refused: a contract that
    looks for the next page where the source does not name it would else have the first alone; so only where `stuck`.
    """

    def __init__(
        self,
        link: NextLink,
        *,
        total_of: Callable[[Answer, Any], int | None] | None = None,
        full: int | None = None,
        says_of: Callable[[Answer, Any], bool] = lambda *_: True,
        stuck: Stuck = for_good,
    ) -> None:
        self._link, self._total_of = link, total_of
        self._full, self._says_of, self._stuck = full, says_of, stuck
        self._asked: set[str] = set()
        self._rows = self._empty = 0
        self.place = 0

    def is_past(self, status: int) -> bool:
        return status == 204 and self._total_of is None

    def first(self, url: httpx.URL) -> httpx.URL:
        return url

    def after(self, http: HttpSource, answer: Answer, document: Any, *, rows: int) -> httpx.URL | None:
        self._asked.add(str(answer.url))
        self._rows += rows
        self.place += 1
        url = self._link(http, answer, document)
        if url is not None and str(url) in self._asked:
            if rows:
                raise http.error(f"GET {answer.url} links to {url}, a page that came before: the paging has no end")
            url = None  # behind the last row some sources answer the same cursor for ever
        only = url is None and self.place == 1
        unsaid = only and self._full is not None and rows >= self._full and not self._says_of(answer, document)
        if unsaid and (why := self._stuck()) is not None:
            raise http.error(
                f"GET {answer.url} gave {rows} rows, as many as were asked for at most, and does not say whether there "
                f"are more{why}: check `paging` and `next` in the contract's exchange.extract, or raise page_size"
            )
        self._empty = 0 if rows else self._empty + 1
        if url is not None and self._empty >= MOST_EMPTY_PAGES:
            raise http.error(
                f"GET {answer.url} is page {self._empty:,} in a row without rows, and links to another: the paging has "
                "no end; check `next` and `records` in the contract's exchange.extract"
            )
        total = self._total_of(answer, document) if self._total_of and url is None else None
        if total is not None and total != self._rows:
            raise http.error(
                f"GET {answer.url} ends the set after {self._rows} rows of {total}: it moved while paging; "
                "run the extract again"
            )
        return url


class OnePage:
    """The whole set in one answer, refused where it may have been cut off and is `stuck` there."""

    place = 0

    def __init__(self, *, at_most: int | None, total: str | None, stuck: Stuck = for_good) -> None:
        """`at_most`: the rows that were asked for, if that was said. `total`: path of the count of rows, if any."""
        self._at_most, self._total, self._stuck = at_most, total, stuck

    def is_past(self, status: int) -> bool:
        return False

    def first(self, url: httpx.URL) -> httpx.URL:
        return url

    def after(self, http: HttpSource, answer: Answer, document: Any, *, rows: int) -> httpx.URL | None:
        total = at(document, self._total) if self._total else None
        if type(total) is int and total > rows:
            raise http.error(
                f"GET {answer.url} gave {rows} rows and says {total} at {self._total!r}: set `paging` in the "
                "contract's exchange.extract to the way in which the source gives the rest, or `total: null` if it "
                "counts no rows"
            )
        if self._at_most is not None and rows >= self._at_most and (why := self._stuck()) is not None:
            raise http.error(
                f"GET {answer.url} gave {rows} rows where {self._at_most} were asked for at most, so there may be "
                f"more{why}: raise page_size in the contract's exchange.extract, or set `paging` to the source's way"
            )
        return None


def header_link(http: HttpSource, answer: Answer, document: Any) -> httpx.URL | None:
    """The answer's Link header with rel=next."""
    link = answer.links.get("next")
    return http.follow(answer, link) if link else None


def body_link(path: str) -> NextLink:
    """A URL at a dotted path of the answer."""

    def link(http: HttpSource, answer: Answer, document: Any) -> httpx.URL | None:
        found = _text(http, answer, document, path)
        return http.follow(answer, found) if found else None

    return link


def cursor(path: str, parameter: str) -> NextLink:
    """A cursor at a dotted path of the answer, sent back as a parameter of the same request."""

    def link(http: HttpSource, answer: Answer, document: Any) -> httpx.URL | None:
        found = _text(http, answer, document, path)
        return answer.url.copy_set_param(parameter, found) if found else None

    return link


def _text(http: HttpSource, answer: Answer, document: Any, path: str) -> str:
    """The text or number at a dotted path; nothing where it says that there is no next."""
    found = at(document, path)
    if not found:
        return ""
    if isinstance(found, bool | list | dict):
        raise http.error(
            f"GET {answer.url} has {http.excerpt(str(found))} at {path!r}, where a text or a number was due: correct "
            "`next` in the contract's exchange.extract"
        )
    return str(found)


def names_next(path: str | None) -> Callable[[Answer, Any], bool]:
    """Whether an answer has something at a dotted path, be it nothing; without one, whether it has any link."""
    if path is None:
        return lambda answer, _: bool(answer.links)
    return lambda _, document: is_there(document, path)


def is_there(document: Any, path: str) -> bool:
    """Whether there is something at a dotted path, be it null."""
    return _found(document, path) is not _NOTHING


def list_at(document: Any, path: str) -> Any:
    """What is at a dotted path, or None; where null is there an empty list, as some servers write it so."""
    found = at(document, path)
    return [] if found is None and is_there(document, path) else found


def at(document: Any, path: str) -> Any:
    """The value at a dotted path, or None; the document itself for an empty path.

    A key may have dots of its own, as `@odata.nextLink`: the longest one that is there counts.
    """
    found = _found(document, path)
    return None if found is _NOTHING else found


_NOTHING = object()


def _found(document: Any, path: str) -> Any:
    if not path:
        return document
    steps = path.split(".")
    for count in range(len(steps), 0, -1) if isinstance(document, dict) else ():
        if (key := ".".join(steps[:count])) in document:
            return _found(document[key], ".".join(steps[count:]))
    return _NOTHING
