"""What a file costs where very many small ones are dropped at once, and how much memory they take.

``python bench/tiny.py --files 10000`` makes csv files of five rows each, drops them, and takes them in; ``--odd 100``
puts a wrong value into every hundredth, which is then loaded alone.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from lakehouse.exchange import Exchange
from lakehouse.landing.intake import load_pages
from lakehouse.landing.seal import seal_pages
from lakehouse.settings import Settings

CONTRACT = Path(__file__).parent / "readings.odcs.yaml"
METERS, ROWS = 100, 5
HEAD = "meter_id,read_at,reading_kwh,flow_m3,state\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--odd", type=int, default=0, help="each so many-th file has a wrong value; 0: none")
    parser.add_argument("--folder", type=Path, help="where there is room; default the system's temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder, ignore_cleanup_errors=True) as name:
        _time(Path(name), options.files, options.odd)


def _time(folder: Path, files: int, odd: int) -> None:
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
    inbox.mkdir(parents=True)
    for number in range(files):
        (inbox / f"{number:07}.csv").write_text(_content(number, odd), encoding="utf-8")
    contract = exchange.contract("bench/readings")
    print(f"{files:,} files of {ROWS} rows", flush=True)
    started, worked = time.perf_counter(), time.process_time()
    sealed = sum(len(page) for page in seal_pages(exchange, contract))
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    print(
        f"  sealed:  {_each(seconds, sealed)} a file, {_each(work, sealed)} of processor, {_peak():,.0f} MB", flush=True
    )
    started, worked, done, accepted = time.perf_counter(), time.process_time(), 0, 0
    for page in load_pages(exchange, contract):
        if (done + len(page)) // 10_000 > done // 10_000:
            print(f"  {done + len(page):,} loaded after {time.perf_counter() - started:,.0f} s", flush=True)
        done += len(page)
        accepted += sum(receipt["accepted"] for receipt in page)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    print(f"  loaded:  {_each(seconds, done)} a file, {_each(work, done)} of processor, {_peak():,.0f} MB", flush=True)
    clean = sum(1 for _ in exchange.lake.list("clean", ""))
    print(f"  {accepted:,} rows in {clean:,} clean files, {done:,} receipts")


def _content(number: int, odd: int) -> str:
    hour, meter = divmod(number, METERS)
    at = datetime(2024, 1, 1) + timedelta(hours=hour)
    lines = [
        f"{meter},{at + timedelta(minutes=10 * row):%Y-%m-%dT%H:%M:%SZ},{hour * 0.731 + row / 10:.3f},"
        f"{hour * 0.021 + row / 100:.3f},ok\n"
        for row in range(ROWS)
    ]
    if odd and number % odd == odd - 1:
        lines[-1] = lines[-1].replace(",ok", ",,,ok")
    return HEAD + "".join(lines)


def _each(seconds: float, files: int) -> str:
    return f"{seconds / max(files, 1) * 1000:.2f} ms"


def _peak() -> float:
    """The most memory that this process ever held, in MB; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
