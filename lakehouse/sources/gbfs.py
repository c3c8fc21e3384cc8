"""The connector for GBFS: a feed of a system of shared vehicles, of versions 1 to 3."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from lakehouse.contracts.extract import Gbfs
from lakehouse.sources.http import Answer, HttpConnector, HttpSource
from lakehouse.sources.naming import compact
from lakehouse.sources.page import Asked, Page
from lakehouse.sources.paging import at

# As some feeds write a number, in quotes.
_SECONDS = re.compile(r"[0-9]{10}(\.[0-9]*)?")


class GbfsConnector(HttpConnector[Gbfs]):
    """One feed. The watermark: `last_updated` as the feed has it, `sha256` of its bytes, for in some feeds the time
    stands still, and `next_at`, before which nobody is to ask."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the feed if it was updated since. Raises SourceError."""
        known = asked.watermark or {}
        if known and datetime.now(UTC) < datetime.fromisoformat(known["next_at"]):
            return
        with self._http as http:
            discovery = http.fetch(http.url(self._arguments.path), asked.folder / "gbfs.json")
            url = self._feed_url(http, discovery)
            discovery.path.unlink()
            answer = http.fetch(url, asked.folder / f"{self._arguments.feed}.json")
            document = http.document(answer)
            updated, next_at = self._updated(answer, document)
            digest = hashlib.sha256(answer.path.read_bytes()).hexdigest()
            if (known.get("last_updated"), known.get("sha256")) == (document["last_updated"], digest):
                answer.path.unlink()
                return
            yield Page(
                name=f"{self._arguments.feed}_{compact(updated)}.json",
                path=answer.path,
                rows=None,
                url=http.shown(url),
                fetched_at=answer.fetched_at,
                watermark={
                    "last_updated": document["last_updated"],
                    "sha256": digest,
                    "next_at": next_at.isoformat(),
                },
            )

    def _feed_url(self, http: HttpSource, answer: Answer) -> httpx.URL:
        document = http.document(answer)
        data = at(document, "data")
        if not isinstance(data, dict):
            raise http.error(f"GET {answer.url} is no GBFS discovery file: it has no object 'data'; check `path`")
        if "feeds" not in data:  # before version 3 the feeds stand under a language
            language = self._arguments.language or next(iter(data), "")
            if language not in data:
                raise http.error(f"GET {answer.url} has the languages {', '.join(data)} and not {language!r}")
            data = data[language]
        listed = at(data, "feeds")
        feeds = {at(feed, "name"): at(feed, "url") for feed in listed} if isinstance(listed, list) else {}
        if self._arguments.feed not in feeds:
            raise http.error(
                f"GET {answer.url} has no feed {self._arguments.feed!r}; it has {', '.join(sorted(map(str, feeds)))}: "
                "correct `feed` in the contract's exchange.extract"
            )
        return http.follow(answer, str(feeds[self._arguments.feed]))

    def _updated(self, answer: Answer, document: Any) -> tuple[datetime, datetime]:
        """When the feed was updated (seconds since 1970 before version 3, RFC 3339 since), and when it will be.

        Its ttl counts from now where its clock is ahead of ours: else nothing of what it says until then would come.
        Without one it is asked for every time.
        """
        value, ttl = at(document, "last_updated"), at(document, "ttl")
        try:
            if isinstance(value, int | float) or _SECONDS.fullmatch(value):
                updated = datetime.fromtimestamp(float(value), UTC)
            else:
                updated = datetime.fromisoformat(value).astimezone(UTC)
            return updated, min(updated, answer.fetched_at) + timedelta(seconds=float(ttl or 0))
        except (TypeError, ValueError, OverflowError):
            raise self._http.error(
                f"GET {answer.url} is no GBFS feed: last_updated is {value!r} and ttl {ttl!r}, where a time and a "
                "number of seconds were due"
            ) from None
