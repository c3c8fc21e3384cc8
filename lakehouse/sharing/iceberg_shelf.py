"""The Iceberg tables that an application's doors show, held for as long as nothing is published or withdrawn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

import sqlalchemy as sa
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from lakehouse.exchange import Exchange
from lakehouse.sharing import iceberg_tables as tables
from lakehouse.sharing.iceberg_register import register, tags
from lakehouse.sharing.iceberg_view import lists_at_doors
from lakehouse.sharing.published import NotPublished
from lakehouse.storage.index import releases

_HELD = 32
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Kept(Generic[Key, Value]):
    """The values that were last asked for."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> Value:
        with self._lock:
            self._values[key] = value
            while len(self._values) > _HELD:
                self._values.popitem(last=False)
        return value


class Shelf:
    """Asks the index at each question, and the lake only where something changed since the last."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._lock = exchange, Lock()
        self._catalog: Catalog | None = None
        self._tables: dict[tuple[str, int], tuple[object, Table | None]] = {}
        self._files: _Kept[tuple[str, int], list[DataFile]] = _Kept()
        self._lists: _Kept[tuple[str, str], dict[str, bytes]] = _Kept()

    def table(self, mart: str, major: int) -> Table:
        """Brought to what is published. Raises :class:`NotPublished`."""
        with self._lock:
            state = self._state(mart, major)
            held, found = self._tables.get((mart, major), (None, None))
            if held != state:
                if self._catalog is None:
                    self._catalog = tables.open_catalog(self._exchange)
                register(self._exchange, self._catalog, mart=mart, major=major)
                found = tables.load(self._catalog, mart, major)
                self._tables[mart, major] = (state, found)
        if found is None:
            raise NotPublished(f"{mart} v{major} has no release that stands")
        return found

    def described(self, mart: str, major: int, release: str, where: str) -> dict[str, bytes]:
        """What Iceberg keeps of a release's files, by name, for a reader who finds them below ``where``."""
        table = self.table(mart, major)
        snapshot = table.snapshot_by_id(tags(table).get(release, -1))
        if snapshot is None:
            return {}
        made = self._lists.get((table.metadata_location, where))
        if made is not None:
            return made
        known = (table.metadata_location, snapshot.snapshot_id)
        files = self._files.get(known)
        if files is None:
            scan = table.scan(snapshot_id=snapshot.snapshot_id)
            files = self._files.put(known, [task.file for task in scan.plan_files()])
        return self._lists.put((table.metadata_location, where), lists_at_doors(table, snapshot, files, where))

    def _state(self, mart: str, major: int) -> object:
        rows = self._exchange.index.rows(
            sa.select(releases.c.release, releases.c.status, releases.c.latest).where(
                releases.c.mart == mart, releases.c.major == major
            )
        )
        return sorted(tuple(row.values()) for row in rows)
