"""A mart whose releases are of all ages, without building any of them."""

from datetime import UTC, datetime, timedelta

from lakehouse.release.pointer import move_pointer, read_pointer
from lakehouse.release.record import record_release
from lakehouse.release.signing import sign
from tests.mini_exchange import TRAFFIC, Mini

NOW = datetime(2026, 6, 15, tzinfo=UTC)
# Days of age of the older releases. 103 and 102 days before are March 4th and 5th, 200 is November 27th.
AGES = {"0002": 201, "0003": 200, "0004": 103, "0005": 102, "0006": 60}


def age(mini: Mini) -> None:
    """To the one release that there is, of the day of the test, add five that hold the same files; the last is the
    newest."""
    lake = mini.exchange.lake
    first = mini.latest(TRAFFIC)
    before = first
    for number, days in AGES.items():
        made = first.model_copy(
            update={
                "release": f"{number}-{first.release[5:]}",
                "created_at": NOW - timedelta(days=days),
                "diff": {**first.diff, "before": before.release},
            }
        )
        for file in made.files:
            lake.copy("marts", f"{first.prefix}/{file.path}", "marts", f"{made.prefix}/{file.path}")
        content = made.model_dump_json().encode()
        lake.write_bytes("marts", f"{made.prefix}/manifest.json", content)
        sign(mini.exchange, made, content)
        with mini.exchange.index.begin() as connection:
            record_release(connection, made)
        before = made
    pointer, version = read_pointer(mini.exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    named = {"release": before.release, "path": before.prefix, "number": 6}
    move_pointer(mini.exchange, pointer.model_copy(update=named), expected=version)
