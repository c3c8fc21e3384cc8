"""Rows a second from a sealed delivery to clean partitions, against DuckDB's plain read into Parquet.

``python bench/loading.py`` makes a csv and an ndjson, then times both ways in turn, each in a process of its own.
One row in a hundred has a wrong value, one in ten thousand is malformed, one in a thousand is delivered twice.
``--shuffled`` delivers the rows in no order.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb
import pyarrow.dataset  # noqa: F401  DuckDB's door to frames: as DuckDB itself, it is loaded before the clock starts.

from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.landing.seal import seal_inbox
from lakehouse.settings import Settings
from lakehouse.storage.sql import literal

CONTRACT = Path(__file__).parent / "readings.odcs.yaml"
METERS = 5000
BLOCK = 2_000_000
SUFFIXES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
READERS = {"csv": "read_csv", "ndjson": "read_json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--size", help="of a csv instead, as 10GB: loaded once, for its peak of memory")
    parser.add_argument("--shuffled", action="store_true", help="rows in no order, where they go by time otherwise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room; default the system's temporary folder")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "FORMAT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, kind, file = options.child
        print(json.dumps((baseline if way == "baseline" else ours)(kind, Path(file))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        if options.size:
            _time_size(Path(name), int(float(options.size[:-2]) * SUFFIXES[options.size[-2:].upper()]))
        else:
            for kind in READERS:
                _time_pairs(Path(name), kind, options.rows, options.rounds, options.shuffled)


def baseline(kind: str, file: Path) -> dict[str, float]:
    settings = Settings()
    target = file.with_name("baseline.parquet")
    # Malformed rows would end it.
    more = ", store_rejects = true" if kind == "csv" else ", format = 'newline_delimited', ignore_errors = true"
    # Both ways open DuckDB, and close it.
    started, worked = time.perf_counter(), time.process_time()
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {settings.threads}; SET memory_limit = {literal(settings.memory_limit)}")
        connection.execute(
            f"COPY (FROM {READERS[kind]}({literal(str(file))}{more})) TO {literal(str(target))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    target.unlink()
    return {"seconds": seconds, "work": work, "peak_mb": _peak()}


def ours(kind: str, file: Path) -> dict[str, float]:
    """The delivery is sealed before the clock starts."""
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        contracts = folder / "contracts" / "bench"
        contracts.mkdir(parents=True)
        shutil.copy(CONTRACT, contracts)
        lake = folder / "lake"
        exchange = Exchange(
            Settings(project=folder, home=folder / "home", lake=lake.as_uri(), database="", settle_seconds=0)
        )
        exchange.init()
        exchange.lake.ensure_bucket("landing-bench")
        inbox = lake / "landing-bench" / "inbox" / "readings"
        inbox.mkdir(parents=True, exist_ok=True)
        (inbox / f"readings.{kind}").hardlink_to(file)
        contract = exchange.contract("bench/readings")
        seal_inbox(exchange, contract)
        started, worked = time.perf_counter(), time.process_time()
        (receipt,) = intake(exchange, contract)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        if receipt["status"] != "partly_accepted":
            raise SystemExit(receipt["message"])
        counts = {name: receipt[name] for name in ("delivered", "accepted", "refused", "duplicates")}
        return {"seconds": seconds, "work": work, "peak_mb": _peak(), **counts}


def make(file: Path, kind: str, first: int, rows: int, *, shuffled: bool = False) -> None:
    """Readings ``first`` to ``first + rows``, hour by hour, with their share of faults."""
    columns = (
        f"i % {METERS} AS meter_id, strftime(TIMESTAMP '2020-01-01' + to_hours(i // {METERS}), '%Y-%m-%dT%H:%M:%SZ') "
        "AS read_at, CASE WHEN hash(i) % 100 = 0 THEN 'n/a' "
        f"ELSE ((i // {METERS}) * 0.731 + i % 97)::DECIMAL(18,3)::VARCHAR END AS reading_kwh, "
        f"((i // {METERS}) * 0.021 + i % 31)::DECIMAL(18,3) AS flow_m3, "
        "['ok', 'ok', 'estimated', 'replaced'][(1 + hash(i, 1) % 4)::BIGINT] AS state"
    )
    source = (
        f"FROM (SELECT {columns}, i AS reading, hash(i, 2) % 1000 = 0 AS twice, hash(i, 3) % 10000 = 0 AS broken "
        f"FROM range({first}, {first + rows}) AS r (i))" + (" ORDER BY hash(reading, 4)" if shuffled else "")
    )
    if kind == "csv":
        line = "concat_ws(',', meter_id, read_at, reading_kwh, flow_m3, state)"
        broken = "concat_ws(',', meter_id, read_at)"
        head = "meter_id,read_at,reading_kwh,flow_m3,state\n"
    else:
        names = ("meter_id", "read_at", "reading_kwh", "flow_m3", "state")
        pairs = ", ".join(f"'{name}', {name}" for name in names)
        line = f"json_object({pairs})::VARCHAR"
        broken = f"left({line}, 30)"
        head = ""
    part = file.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'; SET threads = 2")
        connection.execute(
            f"COPY (SELECT unnest(CASE WHEN broken THEN [{broken}] WHEN twice THEN [{line}, {line}] ELSE [{line}] END) "
            f"{source}) TO {literal(str(part))} (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x1f')"
        )
    with file.open("ab") as target, part.open("rb") as made:
        if target.tell() == 0:
            target.write(head.encode())
        shutil.copyfileobj(made, target, 1 << 20)
    part.unlink()


def _time_pairs(folder: Path, kind: str, rows: int, rounds: int, shuffled: bool) -> None:
    file = folder / f"readings.{kind}"
    make(file, kind, 0, rows, shuffled=shuffled)
    print(f"{kind}: {rows:,} readings, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
    ratios, efforts = [], []
    for _ in range(rounds):
        plain, own = (_child(way, kind, file) for way in ("baseline", "ours"))
        ratios.append(own["seconds"] / plain["seconds"])
        efforts.append(own["work"] / plain["work"])
        print(
            f"  plain {rows / plain['seconds']:>11,.0f} rows/s {plain['peak_mb']:>6,.0f} MB   "
            f"exchange {rows / own['seconds']:>11,.0f} rows/s {own['peak_mb']:>6,.0f} MB   "
            f"ratio {ratios[-1]:.2f}, of processor time {efforts[-1]:.2f}",
            flush=True,
        )
    # On a busy machine the second says more.
    print(f"  median ratio {median(ratios):.2f}, of processor time {median(efforts):.2f}", flush=True)
    file.unlink()


def _time_size(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < 4 * size:
        raise SystemExit(f"Too little room in {folder}: {4 * size / 1e9:,.0f} GB are needed; choose another --folder.")
    file, made = folder / "readings.csv", 0
    file.touch()
    while file.stat().st_size < size:
        make(file, "csv", made, BLOCK)
        made += BLOCK
    own = _child("ours", "csv", file)
    print(
        f"csv: {made:,} readings, {file.stat().st_size / 1e9:.1f} GB: {made / own['seconds']:,.0f} rows/s, "
        f"peak {own['peak_mb']:,.0f} MB"
    )


def _child(way: str, kind: str, file: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, kind, str(file)], stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak() -> float:
    """The most memory that this process ever held, in MB; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
