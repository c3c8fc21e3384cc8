"""The places in which a person may stand, each emptied of that person and of nobody else."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.fields import quarantined
from lakehouse.erasure.search import file_holds, telling, word_pattern
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile
from lakehouse.landing.erased import Cut, Erased, cut_out
from lakehouse.landing.intake import write_receipt
from lakehouse.landing.receipt import MASK
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.reseal import ORIGIN, TOMBSTONE, replace_raw, with_erased
from lakehouse.landing.strays import UNKNOWN
from lakehouse.release.manifest import read_candidate
from lakehouse.release.record import AWAITED
from lakehouse.storage.index import candidates, clean_files, deliveries, next_change
from lakehouse.storage.sql import identifier, literal


@dataclass(kw_only=True)
class Places:
    """One erasure at work. ``pseudonym``: what stands for the person in ``clean``; ``None`` where nothing does."""

    erasure: str
    exchange: Exchange
    contract: Contract
    subject: str
    pseudonym: str | None
    erased: Erased
    connection: duckdb.DuckDBPyConnection
    folder: Path
    _withdrawing: int = 0

    def deliveries(self) -> Iterator[Counter[str]]:
        """Each sealed object, with all that came of it; ``raw`` last, so that a killed run finds its place."""
        of_none = f"{self.contract.provider}/{UNKNOWN}/"
        # In a file of no dataset a short id is any number: whoever reads the certificate is told of it.
        for prefix in (f"{self.contract.key}/", *([of_none] if telling(self.subject) else [])):
            for entry in list(self.exchange.lake.list("raw", prefix)):
                if PurePosixPath(entry.key).name not in (ORIGIN, TOMBSTONE):
                    found = self._sealed(entry.key, ours=prefix != of_none)
                    if found:
                        yield found

    def _sealed(self, raw_key: str, *, ours: bool) -> Counter[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            return self._cut_sealed(raw_key, Path(work), ours=ours)

    def _cut_sealed(self, raw_key: str, work: Path, *, ours: bool) -> Counter[str]:
        path = self.exchange.lake.download("raw", raw_key, work / "sealed")
        cut = self._cut(path, PurePosixPath(raw_key).name, work) if ours else None
        if cut is None:
            if not file_holds(self.connection, path, [self.subject], work):
                return Counter()
            cut = Cut()  # unreadable, or of no dataset, and yet the id is in it: it goes whole
        rows = self.exchange.index.rows(sa.select(deliveries).where(deliveries.c.raw_key == raw_key))
        counts = Counter({"raw rows": cut.rows, "raw files": 1})
        for row in rows:
            counts += self._delivery(dict(row))
        replace_raw(self.exchange, raw_key, cut.path, rows=cut.rows)
        for row in rows:
            self._receipt(str(row["delivery"]))
        return counts

    def _cut(self, path: Path, name: str, work: Path) -> Cut | None:
        try:
            return cut_out(
                connection=self.connection,
                contract=self.contract,
                erased=self.erased,
                path=path,
                name=name,
                folder=work,
                max_bytes=self.exchange.settings.max_unpacked_bytes,
            )
        except (DeliveryRefused, duckdb.Error):
            return None

    def _delivery(self, delivery: dict[str, Any]) -> Counter[str]:
        counts = Counter({"quarantined rows": self._quarantine(delivery["delivery"])})
        swapped = self._clean(delivery["delivery"])
        gone = sum(before["rows"] - file.rows for before, file in swapped)
        receipt = _restated(delivery["receipt"], gone, self._withdrawing)
        with self.exchange.index.begin() as connection:
            if swapped:
                change = next_change(connection)
                for before, file in swapped:
                    # Others may have rows in the file, which are in the new one as they were.
                    shared = clean_files.c.key == before["key"]
                    connection.execute(
                        sa.update(clean_files)
                        .where(shared, clean_files.c.delivery == delivery["delivery"])
                        .values(rows=file.rows)
                    )
                    connection.execute(
                        sa.update(clean_files)
                        .where(shared)
                        .values(key=file.key, bytes=file.path.stat().st_size, change=change)
                    )
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.delivery == delivery["delivery"])
                .values(receipt=receipt, receipt_written=receipt is None)
            )
        for before, _ in swapped:
            self.exchange.lake.delete("clean", before["key"])
        bucket = landing_bucket(delivery["provider"])
        for entry in list(self.exchange.lake.list(bucket, f"refused/{delivery['dataset']}/{delivery['delivery']}/")):
            self.exchange.lake.delete(bucket, entry.key)
        return counts + Counter({"clean rows": gone, "clean files": len(swapped)})

    def _quarantine(self, delivery: str) -> int:
        """Refused rows of the person: those that hold the id as a word, and where it is short, in its field."""
        total = 0
        for entry in list(self.exchange.lake.list("quarantine", f"{self.contract.key}/{delivery}/")):
            if not entry.key.endswith(".parquet"):
                if telling(self.subject) and file_holds(
                    self.connection, self._fetched("quarantine", entry.key), [self.subject], self.folder
                ):
                    self.exchange.lake.delete("quarantine", entry.key)
                continue
            source = f"read_parquet({literal(str(self._fetched('quarantine', entry.key)))}, hive_partitioning=false)"
            held = quarantined(self.contract.column(str(self.contract.exchange.subject)), self.subject)
            if telling(self.subject):
                word = literal(word_pattern([self.subject]))
                held = " OR ".join(
                    f"coalesce(regexp_matches({identifier(name)}, {word}), false)"
                    for name, type_, *_ in self.connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
                    if type_ == "VARCHAR"
                )
            (gone,) = self.connection.execute(f"SELECT count(*) FROM {source} WHERE {held}").fetchone() or (0,)
            if not gone:
                continue
            total += gone
            path = self.folder / "quarantine.parquet"
            self.connection.execute(
                f"COPY (SELECT * FROM {source} WHERE NOT ({held})) TO {literal(str(path))} "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
            self.exchange.lake.upload("quarantine", entry.key, path)
        return total

    def _clean(self, delivery: str) -> list[tuple[Any, CleanFile]]:
        """The delivery's clean files with rows of the person, each with what takes its place, uploaded."""
        swapped: list[tuple[Any, CleanFile]] = []
        self._withdrawing = 0
        rows = self.exchange.index.rows(
            sa.select(clean_files).where(
                clean_files.c.provider == self.contract.provider,
                clean_files.c.dataset == self.contract.dataset,
                clean_files.c.delivery == delivery,
            )
        )
        for row in rows:
            url = self.exchange.lake.duckdb_url("clean", row["key"])
            # Of a file that deliveries share, this one's rows: each has its receipt restated.
            mine = f"exchange_delivery = {literal(delivery)}"
            person = f"{mine} AND {self._is_person()}"
            if not self._there(url, person):
                continue
            # Rows that only withdraw others are not among the accepted: they have line 0.
            query = f"SELECT count(*) FROM {_clean_source(url)} WHERE exchange_line = 0 AND {person}"
            self._withdrawing += int((self.connection.execute(query).fetchone() or (0,))[0])
            path = self.folder / f"clean-{len(swapped)}.parquet"
            self.connection.execute(
                f"COPY (SELECT * FROM {_clean_source(url)} WHERE NOT ({person})) "
                f"TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
            )
            query = f"SELECT count(*) FROM {_clean_source(str(path))} WHERE {mine}"
            (left,) = self.connection.execute(query).fetchone() or (0,)
            # An empty file stays, so that builds see that its partition has changed.
            key = f"{row['key'].removesuffix('.parquet')}-{self.erasure[-8:]}.parquet"
            self.exchange.lake.upload("clean", key, path)
            swapped.append((row, CleanFile(partition=row["partition"], key=key, path=path, rows=int(left))))
        return swapped

    def _is_person(self) -> str:
        if self.pseudonym is None:
            return "false"
        column = identifier(str(self.contract.exchange.subject))
        return f"coalesce({column}::VARCHAR = {literal(self.pseudonym)}, false)"

    def _person_in(self, url: str) -> bool:
        return self._there(url, self._is_person())

    def _there(self, url: str, condition: str) -> bool:
        query = f"SELECT 1 FROM {_clean_source(url)} WHERE {condition} LIMIT 1"
        return self.connection.execute(query).fetchone() is not None

    def _fetched(self, bucket: str, key: str) -> Path:
        return self.exchange.lake.local_path(bucket, key) or self.exchange.lake.download(
            bucket, key, self.folder / "fetched"
        )

    def _receipt(self, delivery: str) -> None:
        [row] = self.exchange.index.rows(sa.select(deliveries).where(deliveries.c.delivery == delivery))
        if row["receipt"]:
            write_receipt(self.exchange, row["receipt"], title=self.contract.name, raw_key=row["raw_key"])

    def left_behind(self) -> Counter[str]:
        """Clean objects that no delivery stands on any more and that a killed run left."""
        named = {
            row["key"]
            for row in self.exchange.index.rows(
                sa.select(clean_files.c.key).where(
                    clean_files.c.provider == self.contract.provider, clean_files.c.dataset == self.contract.dataset
                )
            )
        }
        gone = 0
        for entry in list(self.exchange.lake.list("clean", f"{self.contract.key}/")):
            if entry.key not in named and self._person_in(self.exchange.lake.duckdb_url("clean", entry.key)):
                self.exchange.lake.delete("clean", entry.key)
                gone += 1
        return Counter({"clean files left behind": gone})

    def candidates(self) -> Counter[str]:
        """Candidates that were built of this dataset and are not released: they are built again without."""
        rows = self.exchange.index.rows(sa.select(candidates).where(candidates.c.status.in_([*AWAITED, "blocked"])))
        gone = 0
        for row in rows:
            made = read_candidate(self.exchange, mart=row["mart"], candidate=row["candidate"])
            if not any(entry.dataset == self.contract.key for entry in made.inputs):
                continue
            with self.exchange.index.begin() as connection:
                connection.execute(
                    sa.update(candidates)
                    .where(candidates.c.mart == row["mart"], candidates.c.candidate == row["candidate"])
                    .values(status="superseded", reason="a person was erased from its inputs")
                )
            for entry in list(self.exchange.lake.list("candidates", f"{made.prefix}/")):
                if entry.key.endswith(".parquet"):
                    self.exchange.lake.delete("candidates", entry.key)
            gone += 1
        return Counter({"candidates": gone})


def _clean_source(url: str) -> str:
    return f"read_parquet({literal(url)}, hive_partitioning=false)"


def _restated(receipt: dict[str, Any] | None, gone: int, withdrawing: int) -> dict[str, Any] | None:
    """The receipt after rows that were accepted have gone: it still adds up. What it shows of rows is masked,
    for it may be of this person."""
    if receipt is None:
        return None
    masked = {
        kind: [{**entry, "value": MASK if entry["value"] is not None else None} for entry in receipt[kind]]
        for kind in ("errors", "warnings")
    }
    shown = {**receipt, **masked, "erased_at": datetime.now(UTC).isoformat(timespec="seconds")}
    accepted = gone - withdrawing
    shown["withdrawn"] = receipt.get("withdrawn", 0) - withdrawing
    if not accepted:
        return shown
    return with_erased(
        {**shown, "accepted": receipt["accepted"] - accepted, "delivered": receipt["delivered"] - accepted}, accepted
    )
