"""The connector for OGC API Features: the GeoJSON pages of a collection, by their links."""

from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from typing import Any

import httpx

from lakehouse.contracts.extract import OgcFeatures
from lakehouse.sources.http import Answer, HttpConnector, HttpSource
from lakehouse.sources.naming import compact, safe
from lakehouse.sources.page import Asked, Page
from lakehouse.sources.paging import ByLink, at
from lakehouse.sources.walk import walk


class OgcFeaturesConnector(HttpConnector[OgcFeatures]):
    """The features of one collection: of an interval, both bounds included as the standard has it, or all."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the pages in the server's order. Raises SourceError."""
        arguments = self._arguments
        parameters = {**arguments.filters, "limit": str(arguments.page_size)}
        stem = safe(arguments.collection)
        if arguments.interval:
            start, end = asked.start.astimezone(UTC), asked.end.astimezone(UTC)
            parameters["datetime"] = f"{start:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}"
            stem = f"{stem}_{compact(start)}_{compact(end)}"
        if arguments.bbox:
            parameters["bbox"] = ",".join(map(_plain, arguments.bbox))
        if arguments.crs:
            parameters["crs"] = arguments.crs
        with self._http as http:
            yield from walk(
                http,
                url=http.url(f"{arguments.path}/collections/{arguments.collection}/items", parameters),
                paging=ByLink(_next, total_of=_matched),
                asked=asked,
                stem=stem,
                records_of=self._features,
                headers={"Accept": "application/geo+json, application/json;q=0.9"},
            )

    def _features(self, answer: Answer, document: Any) -> list[Any]:
        features, stated = at(document, "features"), at(document, "numberReturned")
        if at(document, "type") != "FeatureCollection" or not isinstance(features, list):
            raise self._http.error(
                f"GET {answer.url} answered no GeoJSON FeatureCollection: check `collection` and `path`"
            )
        if isinstance(stated, int) and stated != len(features):
            raise self._http.error(f"GET {answer.url} holds {len(features)} features and says numberReturned {stated}")
        return features


def _plain(edge: float) -> str:
    """All digits of a number, without an exponent."""
    return f"{Decimal(repr(edge)):f}".removesuffix(".0")


def _next(http: HttpSource, answer: Answer, document: Any) -> httpx.URL | None:
    links = at(document, "links") or []
    if not isinstance(links, list):
        raise http.error(f"GET {answer.url} has no list at 'links', so the next page is not known")
    following = [link for link in links if at(link, "rel") == "next" and at(link, "href")]
    # Some name the next page in several forms, the web page first.
    link = min(following, key=lambda link: "json" not in str(at(link, "type") or "json"), default=None)
    return http.follow(answer, str(at(link, "href"))) if link else None


def _matched(answer: Answer, document: Any) -> int | None:
    matched = document.get("numberMatched")
    return matched if isinstance(matched, int) else None
