"""A server that answers as the Energi Data Service does, from deliveries on disk.

For tests, and for a run where no network is. What it follows of that API: `GET /dataset/<name>` with start
(included) and end (excluded) on the dataset's time column, Danish time unless `timezone=utc`; offset and
limit; sort; filter; the answer's keys; 404 for a dataset it does not have, 400 for a query it cannot read.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

import duckdb

from lakehouse.sources.loopback_server import Answered, Exchanged, Fault, LoopbackServer
from lakehouse.sources.loopback_table import LoopbackDataset, LoopbackTable, QueryError

__all__ = ["Exchanged", "Fault", "LoopbackApi", "LoopbackDataset"]


class LoopbackApi(LoopbackServer):
    """Serves `datasets`; see LoopbackServer."""

    def __init__(self, *, datasets: Iterable[LoopbackDataset], port: int = 0, faults: Sequence[Fault] = ()) -> None:
        """Load the deliveries and bind the port. Raises ValueError (see LoopbackTable) and OSError."""
        self._database = duckdb.connect()
        self._tables = {d.name: LoopbackTable(dataset=d, database=self._database) for d in datasets}
        super().__init__(port=port, faults=faults)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._database.close()

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        parts = urlsplit(target)
        room, _, name = parts.path.strip("/").partition("/")
        table = self._tables.get(unquote(name)) if room == "dataset" else None
        if table is None:
            return _error(404, f"no dataset at {parts.path}; there are {', '.join(sorted(self._tables))}")
        try:
            return Answered(body=table.answer(dict(parse_qsl(parts.query, keep_blank_values=True))))
        except QueryError as error:
            return _error(400, str(error))


def _error(status: int, message: str) -> Answered:
    return Answered(status=status, body=json.dumps({"error": message}).encode())
