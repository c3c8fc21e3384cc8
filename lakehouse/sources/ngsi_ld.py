"""The connector for NGSI-LD context brokers: entities of one type as they are, or as they were in an interval."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

from lakehouse.contracts.extract import NgsiLd
from lakehouse.sources.changes import ChangesSince
from lakehouse.sources.http import Answer, HttpConnector
from lakehouse.sources.naming import compact, safe
from lakehouse.sources.page import Asked, Page
from lakehouse.sources.paging import ByPlace
from lakehouse.sources.walk import walk


class NgsiLdConnector(HttpConnector[NgsiLd]):
    """Entities of one type, by offset and limit, counted by the broker (NGSILD-Results-Count)."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the pages of entities. Raises SourceError, also where the broker cuts the time short (206)."""
        arguments = self._arguments
        path, stem = f"{arguments.path}/entities", safe(arguments.type)
        parameters = {"type": arguments.type, "count": "true"}
        if arguments.attributes:
            parameters["attrs"] = ",".join(arguments.attributes)
        if arguments.options:
            parameters["options"] = ",".join(arguments.options)
        conditions = [arguments.query] if arguments.query else []
        changes = None
        if arguments.temporal:
            path = f"{arguments.path}/temporal/entities"
            stem = f"{stem}_{compact(asked.start)}_{compact(asked.end)}"
            parameters |= {
                "timerel": "between",
                # Brokers differ on whether the first bound is included.
                "timeAt": f"{asked.start.astimezone(UTC) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}",
                "endTimeAt": f"{asked.end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "timeproperty": arguments.time_property,
            }
        elif arguments.modified_since:
            changes = ChangesSince(value="modifiedAt", watermark=asked.watermark)
            if changes.asked_since is not None:
                conditions.append(f"modifiedAt>={changes.asked_since}")
                stem = f"{stem}_since_{safe(str(changes.asked_since))}"
        if conditions:
            parameters["q"] = ";".join(conditions)
        with self._http as http:
            yield from walk(
                http,
                url=http.url(path, parameters),
                paging=ByPlace(
                    parameter="offset",
                    limit_parameter="limit",
                    page_size=arguments.page_size,
                    total_of=self._count,
                ),
                asked=asked,
                stem=stem,
                records_of=self._entities,
                headers=self._headers(),
                changes=changes,
            )

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/ld+json, application/json;q=0.9"}
        if self._arguments.context:
            rel = 'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
            headers["Link"] = f"<{self._arguments.context}>; {rel}"
        if self._arguments.tenant:
            headers["NGSILD-Tenant"] = self._arguments.tenant
        return headers

    def _entities(self, answer: Answer, document: Any) -> list[Any]:
        if not isinstance(document, list):
            raise self._http.error(f"GET {answer.url} answered a JSON {type(document).__name__} where a list was due")
        return document

    def _count(self, answer: Answer, document: Any) -> int:
        count = answer.headers.get("NGSILD-Results-Count", "")
        if not count.isdecimal():
            raise self._http.error(
                f"GET {answer.url} did not count its entities (NGSILD-Results-Count is {count!r}): is it a broker of "
                "NGSI-LD 1.3 or later?"
            )
        return int(count)
