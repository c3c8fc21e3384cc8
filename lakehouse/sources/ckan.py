"""The connector for CKAN portals: rows of a datastore by `datastore_search`, or the file of a resource."""

import json
from collections.abc import Iterator
from typing import Any

from lakehouse.contracts.extract import Ckan
from lakehouse.sources.changes import record_digest
from lakehouse.sources.http import Answer, HttpConnector, HttpSource
from lakehouse.sources.http_file import fetch_changed, refuse_web_page
from lakehouse.sources.naming import safe
from lakehouse.sources.page import Asked, Page
from lakehouse.sources.paging import ByPlace, at, list_at
from lakehouse.sources.walk import walk

# What a portal says of a file that it keeps itself. Of a file elsewhere it does not hear of changes.
_VERSION = ("hash", "last_modified", "size")


class CkanConnector(HttpConnector[Ckan]):
    """One resource of a portal."""

    _last = ""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the pages of the datastore, or the file if it changed. Raises SourceError."""
        with self._http as http:
            yield from self._rows(http, asked) if self._arguments.read == "datastore" else self._file(http, asked)

    def _rows(self, http: HttpSource, asked: Asked) -> Iterator[Page]:
        arguments = self._arguments
        parameters = {"resource_id": arguments.resource_id, "sort": arguments.sort}
        if arguments.filters:
            parameters["filters"] = json.dumps(arguments.filters)
        read = self._read_before(http, asked, parameters) if asked.watermark and arguments.append_only else 0
        paging = ByPlace(
            parameter="offset",
            limit_parameter="limit",
            page_size=arguments.page_size,
            total_of=self._total,
            offset=read,
        )
        yield from walk(
            http,
            url=http.url("/api/3/action/datastore_search", parameters),
            paging=paging,
            asked=asked,
            stem=safe(arguments.resource_id),
            records_of=self._records,
            watermark_of=(lambda: {"rows": paging.place, "last": self._last}) if arguments.append_only else None,
        )

    def _read_before(self, http: HttpSource, asked: Asked, parameters: dict[str, str]) -> int:
        """How many rows to begin behind: none where the last one that was read stands elsewhere, or is gone: then the
        table was made anew, or rows were deleted, and what comes next would be read past."""
        watermark = dict(asked.watermark or {})
        read = int(watermark["rows"])
        parameters = {**parameters, "offset": str(max(0, read - 1)), "limit": "1"}
        answer = http.fetch(http.url("/api/3/action/datastore_search", parameters), asked.folder / "total.json")
        document = http.document(answer)
        there = self._total(answer, document) >= read and bool(self._records(answer, document))
        answer.path.unlink()
        return read if there and watermark.get("last", self._last) == self._last else 0

    def _file(self, http: HttpSource, asked: Asked) -> Iterator[Page]:
        about = http.url("/api/3/action/resource_show", {"id": self._arguments.resource_id})
        answer = http.fetch(about, asked.folder / "resource.json")
        resource = self._result(answer, http.document(answer))
        answer.path.unlink()
        known = dict(asked.watermark or {})
        version = {key: resource.get(key) for key in _VERSION}
        kept_here = resource.get("url_type") == "upload" and any(version.values())
        if kept_here and known.get("resource") == version:
            return
        if not (place := resource.get("url")):
            raise http.error(f"GET {answer.url} names no file of the resource ('result.url'): check resource_id")
        url = http.follow(answer, str(place))
        # The name stays when a portal renames the file of a resource.
        suffix = str(resource.get("format") or "data").lower()
        name = f"{safe(self._arguments.resource_id)}.{safe(suffix)}"
        found = fetch_changed(http, url, asked.folder / name, known=known.get("file"))
        if found is None:
            return
        answer, validators = found
        refuse_web_page(http, answer)
        yield Page(
            name=name,
            path=answer.path,
            rows=None,
            url=http.shown(answer.url),
            fetched_at=answer.fetched_at,
            watermark={"resource": version, "file": validators},
        )

    def _result(self, answer: Answer, document: Any) -> dict[str, Any]:
        result = at(document, "result")
        if at(document, "success") is not True or not isinstance(result, dict):
            raise self._http.error(
                f"GET {answer.url} is no successful answer of CKAN's action API but "
                f"{self._http.excerpt(str(document))}: check resource_id, and that the base URL is the portal's"
            )
        return result

    def _records(self, answer: Answer, document: Any) -> list[Any]:
        records = list_at(self._result(answer, document), "records")
        if not isinstance(records, list):
            raise self._http.error(f"GET {answer.url} has no list at 'result.records'")
        if records:
            self._last = record_digest(records[-1])
        return records

    def _total(self, answer: Answer, document: Any) -> int:
        total = self._result(answer, document).get("total")
        if type(total) is not int:
            raise self._http.error(f"GET {answer.url} does not count its rows at 'result.total'")
        return total
