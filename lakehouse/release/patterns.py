"""Which cells a mart withholds already in a period of which something is published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.withheld import Pattern, period_of, withheld_in
from lakehouse.release.manifest import Manifest


def standing_patterns(
    exchange: Exchange, mart: Mart, policy: SuppressPolicy, base: Manifest | None, partitions: Iterable[str]
) -> dict[str, Pattern]:
    """The patterns of the periods that ``partitions`` lie in, as the release ``base`` shows them to anyone."""
    wanted = {period_of(policy, partition) for partition in partitions}
    found: dict[str, Pattern] = {}
    for file in base.files if base is not None else ():
        period = period_of(policy, file.partition)
        if base is None or period not in wanted or period in found:
            continue
        with tempfile.TemporaryDirectory(prefix="pattern-") as folder, exchange.duckdb() as connection:
            key = f"{base.prefix}/{file.path}"
            path = exchange.lake.local_path("marts", key) or exchange.lake.download("marts", key, Path(folder) / "part")
            found[period] = withheld_in(connection, policy, path)
    return found
