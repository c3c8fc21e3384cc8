"""The vault: a random salt for each person, so that whoever is erased can be told from nobody any more.

Bucket ``vault``, one object for each provider and id column: ``<provider>/<column>.parquet`` with ``digest`` (the
keyed hash of the id), ``salt`` and ``entry`` (a random number, by which a list of the erased may name the row). An
id never stands in it. Whole objects are replaced on condition that nobody else did; they are for a bucket without
versions, for a salt that can be brought back was not deleted.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.contracts.odcs import Column
from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import KeyFault, KeyStore, Purpose, Scope, key_id, open_keys
from lakehouse.privacy.pseudonyms import DIGEST_BYTES, SALT_BYTES, digests, names_rows, salted, shown
from lakehouse.storage.index import changes, forgotten_salts, hold_changes, upsert, vaults
from lakehouse.storage.lake import Conflict, ObjectNotFound

BUCKET = "vault"
STATE = "state.json"
SCHEMA = pa.schema([("digest", pa.binary(DIGEST_BYTES)), ("salt", pa.binary(SALT_BYTES)), ("entry", pa.int64())])
# By another key of erasures those who were erased would come back unknown.
_CHECKED: tuple[Purpose, ...] = ("pseudonym", "record", "vault", "erasure")


class VaultChanged(Exception):
    """Somebody else wrote to the vault meanwhile, or rotated a key: what was computed is to be computed anew."""


@dataclass(frozen=True, kw_only=True)
class VaultState:
    """Of which moment a provider's pseudonyms are."""

    provider: str
    epoch: int
    version: int

    def require_unchanged(self, connection: Connection) -> None:
        """To be called in the transaction that stores rows under them. Raises :class:`VaultChanged`."""
        found = connection.execute(sa.select(vaults.c.version).where(vaults.c.provider == self.provider)).scalar()
        if found != self.version:
            raise VaultChanged


class Vault:
    """A provider's pseudonyms as of now. ``stored``: whether salts of new people are kept; a trial keeps none."""

    def __init__(self, exchange: Exchange, provider: str, *, stored: bool = True) -> None:
        self._exchange, self._provider, self._stored = exchange, provider, stored
        self._keys = open_keys(exchange)
        self.state = vault_state(exchange, provider, self._keys)
        self._held: dict[str, _Held] = {}

    def pseudonyms(self, column: Column, ids: Sequence[str]) -> list[int] | list[str]:
        """What stands for each id, in the column's type. Salts of new people are drawn, and kept by :meth:`keep`."""
        if names_rows(self._exchange.contracts, self._provider, column.name):
            return shown(column, digests(ids, self._key("record"), column=column.name))
        held = self._hold(column.name)
        named = digests(ids, self._key("vault"), column=column.name)
        salts = held.salts(named)
        missing = list(dict.fromkeys(digest for digest, salt in zip(named, salts, strict=True) if salt is None))
        if missing:
            held.add(self._drawn(missing))
            salts = held.salts(named)
        pairs = [(salt or b"", digest) for salt, digest in zip(salts, named, strict=True)]
        return shown(column, salted(pairs, self._key("pseudonym", self.state.epoch), column=column.name))

    def known(self, column: Column, value: str) -> int | str | None:
        """What stands for one id; ``None`` where the exchange knows nobody of that id."""
        if not names_rows(self._exchange.contracts, self._provider, column.name):
            [digest] = digests([value], self._key("vault"), column=column.name)
            if self._hold(column.name).salts([digest]) == [None]:
                return None
        return self.pseudonyms(column, [value])[0]

    def people(self, column: Column, *, epoch: int | None = None) -> tuple[list[Any], list[bytes], list[int]]:
        """Of all people of a column the pseudonym (of an epoch), the salt and the entry."""
        table = self._hold(column.name).table
        salts = table["salt"].to_pylist()
        pairs = zip(salts, table["digest"].to_pylist(), strict=True)
        key = self._key("pseudonym", epoch or self.state.epoch)
        return list(shown(column, salted(pairs, key, column=column.name))), salts, table["entry"].to_pylist()

    def keep(self) -> None:
        """Stores the salts that were drawn. Raises :class:`VaultChanged` where somebody else was first."""
        for name, held in self._held.items():
            if held.new and self._stored:
                _write(self._exchange, self._provider, name, held.table, held.version)
                held.new = False

    def forget(self, column: str, entries: Sequence[int], *, erasure: str, before: int) -> None:
        """Deletes salts: first the list says that they are to be used no more, then they go. ``before``: the last
        change of clean files when it was seen that nothing stands under them. Raises :class:`VaultChanged`."""
        if entries:
            with self._exchange.index.begin() as connection:
                hold_changes(connection)
                self.state.require_unchanged(connection)
                if connection.execute(sa.select(changes.c.last)).scalar_one() != before:
                    raise VaultChanged
                for entry in entries:
                    values = {"provider": self._provider, "column_name": column, "entry": entry, "erasure": erasure}
                    upsert(connection, forgotten_salts, values)
                connection.execute(
                    sa.update(vaults).where(vaults.c.provider == self._provider).values(version=vaults.c.version + 1)
                )
            self.state = replace(self.state, version=self.state.version + 1)
        purge(self._exchange, self._provider, column)

    def _key(self, purpose: Purpose, epoch: int = 1) -> bytes:
        return self._keys.key(Scope(provider=self._provider, purpose=purpose, epoch=epoch))

    def _hold(self, column: str) -> _Held:
        if column not in self._held:
            table, version = _read(self._exchange, self._provider, column)
            gone = _forgotten(self._exchange, self._provider, column)
            self._held[column] = _Held(table=_without(table, gone), version=version)
        return self._held[column]

    def _drawn(self, named: list[bytes]) -> pa.Table:
        """All at once, for a call of the system for each takes longer than all that is reckoned of it."""
        count = len(named)
        # A trial keeps nothing, and yet the next delivery of it must find the same.
        salts = secrets.token_bytes(SALT_BYTES * count) if self._stored else b"".join(named)
        entries = np.frombuffer(secrets.token_bytes(8 * count), np.int64) & np.iinfo(np.int64).max
        columns = [
            pa.array(named, SCHEMA[0].type),
            pa.FixedSizeBinaryArray.from_buffers(SCHEMA[1].type, count, [None, pa.py_buffer(salts)]),
            pa.array(entries),
        ]
        return pa.table(columns, schema=SCHEMA)


@dataclass(kw_only=True)
class _Held:
    """One object of the vault as it was read, and what was added to it."""

    table: pa.Table
    version: str | None
    new: bool = False

    def salts(self, named: list[bytes]) -> list[bytes | None]:
        places = pc.index_in(pa.array(named, SCHEMA[0].type), value_set=self.table["digest"])
        found: list[bytes | None] = self.table["salt"].take(places).to_pylist()
        return found

    def add(self, drawn: pa.Table) -> None:
        self.table = pa.concat_tables([self.table, drawn]).combine_chunks()
        self.new = True


def vault_state(exchange: Exchange, provider: str, keys: KeyStore) -> VaultState:
    """Under which epoch a provider's ids are pseudonyms. Raises :class:`KeyFault` where a key is not the one that it
    was: with another the same people would get other pseudonyms, and nobody would know them again."""
    row = exchange.index.row(sa.select(vaults).where(vaults.c.provider == provider))
    if row is None:
        values = {"provider": provider, "epoch": 1, "version": 0, "key_ids": _key_ids(keys, provider, 1)}
        try:
            with exchange.index.begin() as connection:
                connection.execute(sa.insert(vaults).values(**values))
        except sa.exc.IntegrityError:
            return vault_state(exchange, provider, keys)
        write_state(exchange, values)
        return VaultState(provider=provider, epoch=1, version=0)
    for purpose, expected in row["key_ids"].items():
        epoch = row["epoch"] if purpose == "pseudonym" else 1
        if key_id(keys.key(Scope(provider=provider, purpose=purpose, epoch=epoch))) != expected:
            raise KeyFault(
                f"the key {provider}.{purpose}.{epoch} is not the one by which the ids of {provider} stand in the lake "
                "(another machine's, or a lost one made anew): restore it from its backup"
            )
    return VaultState(provider=provider, epoch=row["epoch"], version=row["version"])


def _key_ids(keys: KeyStore, provider: str, epoch: int) -> dict[str, str]:
    return {
        purpose: key_id(
            keys.key(Scope(provider=provider, purpose=purpose, epoch=epoch if purpose == "pseudonym" else 1))
        )
        for purpose in _CHECKED
    }


def turned_state(exchange: Exchange, provider: str, epoch: int) -> dict[str, Any]:
    """The state of a provider's vault after a rotation to that epoch."""
    state = vault_state(exchange, provider, open_keys(exchange))
    ids = _key_ids(open_keys(exchange), provider, epoch)
    return {"provider": provider, "epoch": epoch, "version": state.version + 1, "key_ids": ids}


def write_state(exchange: Exchange, state: dict[str, Any]) -> None:
    """Into the lake, from which a lost index is made again."""
    content = json.dumps(state, indent=1).encode()
    exchange.lake.write_bytes(BUCKET, f"{state['provider']}/{STATE}", content, content_type="application/json")


def kept_states(exchange: Exchange) -> Iterable[dict[str, Any]]:
    """The states that the lake knows."""
    for entry in list(exchange.lake.list(BUCKET)):
        if entry.key.endswith(f"/{STATE}"):
            yield json.loads(exchange.lake.read_bytes(BUCKET, entry.key))


def purge(exchange: Exchange, provider: str, column: str) -> int:
    """Deletes the salts that are to be used no more, also those that a restored backup has brought back. Returns how
    many there were."""
    while True:
        table, version = _read(exchange, provider, column)
        left = _without(table, _forgotten(exchange, provider, column))
        if left.num_rows == table.num_rows:
            return 0
        try:
            _write(exchange, provider, column, left, version)
        except VaultChanged:
            continue
        return int(table.num_rows - left.num_rows)


def _forgotten(exchange: Exchange, provider: str, column: str) -> list[int]:
    asked = sa.select(forgotten_salts.c.entry).where(
        forgotten_salts.c.provider == provider, forgotten_salts.c.column_name == column
    )
    return [row["entry"] for row in exchange.index.rows(asked)]


def _without(table: pa.Table, entries: list[int]) -> pa.Table:
    if not entries:
        return table
    return table.filter(pc.invert(pc.is_in(table["entry"], value_set=pa.array(entries, pa.int64()))))


def _read(exchange: Exchange, provider: str, column: str) -> tuple[pa.Table, str | None]:
    key = f"{provider}/{column}.parquet"
    standing = exchange.lake.stat(BUCKET, key)
    if standing is None:
        return SCHEMA.empty_table(), None
    try:
        content = exchange.lake.read_bytes(BUCKET, key)
    except ObjectNotFound:
        return SCHEMA.empty_table(), None
    return pq.read_table(io.BytesIO(content), schema=SCHEMA), standing.version


def _write(exchange: Exchange, provider: str, column: str, table: pa.Table, version: str | None) -> None:
    content = io.BytesIO()
    # Random bytes do not get smaller. Sorted, so that it does not say who came first.
    pq.write_table(table.sort_by("digest"), content, compression="none", use_dictionary=False)
    try:
        exchange.lake.write_if(BUCKET, f"{provider}/{column}.parquet", content.getvalue(), expected=version)
    except Conflict:
        raise VaultChanged from None
