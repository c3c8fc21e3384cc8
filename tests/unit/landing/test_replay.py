"""A contract is mended: what was delivered before is read again, and nothing but that has changed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing import plausibility
from lakehouse.landing.clean import StandingChanged
from lakehouse.landing.intake import intake, record, workbench
from lakehouse.landing.load import load
from lakehouse.landing.replay import replay
from lakehouse.landing.seal import seal_inbox
from lakehouse.storage.index import clean_files, deliveries, replaced_files
from tests.dying import dies_everywhere
from tests.unit.landing.conftest import METER, READ_AT, USE, House, column

HEADER = "meter,read_at,use_kwh\n"
FIRST = f"{HEADER}a,2024-01-01 00:00,5\na,2024-01-01 01:00,-3\na,2024-01-02 00:00,7\n"
# The refused row once more, as it was; the first one corrected.
SECOND = f"{HEADER}a,2024-01-01 00:00,6\na,2024-01-01 01:00,-3\n"
ONLY_BAD = f"{HEADER}b,2024-01-03 00:00,-1\n"


def mend(house: House, version: str = "1.1.0", **options: Any) -> Contract:
    """Below zero is allowed: a household that sells power."""
    contract = house.contract([METER, READ_AT, column("use_kwh", "number", **options)])
    path = house.exchange.settings.contracts_path / "town" / "readings.odcs.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", f"version: {version}"))
    house.exchange.__dict__.pop("contracts", None)
    return house.exchange.contract(contract.key)


def filled(house: House) -> Contract:
    contract = house.contract(thresholds={"max_refused_share": 0.6})
    house.deliver(contract, FIRST, "first.csv")
    house.deliver(contract, SECOND, "second.csv")
    house.deliver(contract, ONLY_BAD, "third.csv")
    return contract


def receipts(house: House) -> dict[str, dict[str, Any]]:
    rows = house.exchange.index.rows(sa.select(deliveries).order_by(deliveries.c.delivery))
    assert all(row["receipt_written"] for row in rows)
    return {row["file"]: row["receipt"] for row in rows}


def state(house: House, contract: Contract) -> tuple[Any, ...]:
    """All that a replay may change, without its moment."""
    names = ("status", "contract_version", "accepted", "refused", "duplicates", "corrections", "before", "generation")
    found = receipts(house)
    kept = [entry.key.rsplit("/", 1)[-1] for entry in house.exchange.lake.list("quarantine")]
    files = house.exchange.index.rows(sa.select(clean_files.c.partition, clean_files.c.key, clean_files.c.rows))
    return (
        {file: {name: receipt[name] for name in names} for file, receipt in found.items()},
        {file: receipt["released_from_quarantine"] for file, receipt in found.items()},
        {file: len(house.quarantine(contract, receipt)) for file, receipt in found.items()},
        house.clean(contract, "meter, read_at, use_kwh, exchange_delivery, exchange_line, exchange_known_at"),
        sorted(tuple(row.values()) for row in files),
        sorted(name for name in kept if name in ("faults.parquet", "faults-next.parquet")),
        [entry.key.rsplit("/", 1)[-1] for entry in house.exchange.lake.list("landing-town", "refused/")],
    )


def test_rows_that_are_good_by_the_mended_contract_are_released_and_the_receipt_says_so(house: House) -> None:
    contract = filled(house)
    assert [r["status"] for r in receipts(house).values()] == ["partly_accepted", "partly_accepted", "refused"]
    done = replay(house.exchange, mend(house))
    assert [(r.file, r.released, r.partitions) for r in done] == [
        ("first.csv", 1, ("2024-01-01",)),
        # Released, and by the first delivery known already.
        ("second.csv", 1, ()),
        ("third.csv", 1, ("2024-01-03",)),
    ]
    first, second, third = receipts(house).values()
    assert first["before"] == {
        "contract_version": "1.0.0", "status": "partly_accepted", "delivered": 3, "accepted": 2, "refused": 1,
        "duplicates": 0,
    }  # fmt: skip
    assert (first["contract_version"], first["accepted"], first["refused"]) == ("1.1.0", 3, 0)
    assert (second["accepted"], second["corrections"], second["duplicates"], second["refused"]) == (1, 1, 1, 0)
    assert (third["status"], third["accepted"]) == ("accepted", 1)
    assert (
        "by version 1.1.0 of the contract (before: 1.0.0): 1 row left quarantine. 3 rows accepted." in first["message"]
    )
    assert "left quarantine" in house.published(contract, first, "html").decode()
    assert house.quarantine(contract, first) == []
    assert len(house.clean(contract)) == 5
    assert not list(house.exchange.lake.list("landing-town", "refused/"))
    # What was quarantined before is kept beside.
    kept = [e.key for e in house.exchange.lake.list("quarantine") if "faults-before-" in e.key]
    assert len(kept) == 3


def test_only_partitions_whose_rows_changed_get_a_new_change(house: House) -> None:
    contract = filled(house)
    before = house.exchange.index.last_change()
    replay(house.exchange, mend(house))
    rows = house.exchange.index.rows(sa.select(clean_files).where(clean_files.c.change > before))
    assert sorted({row["partition"] for row in rows}) == ["2024-01-01", "2024-01-03"]
    gone = house.exchange.index.rows(sa.select(replaced_files))
    assert [(row["partition"], row["replaced"]) for row in gone] == [("2024-01-01", before + 1)]
    # A build that began before still finds what it was to read.
    assert house.exchange.lake.stat("clean", gone[0]["key"]) is not None
    assert contract.version == "1.0.0"


def test_rows_that_the_mended_contract_refuses_leave_clean(house: House) -> None:
    contract = house.contract()
    house.deliver(contract, f"{HEADER}a,2024-01-01 00:00,5\na,2024-01-02 00:00,900\n")
    [done] = replay(house.exchange, mend(house, logicalTypeOptions={"maximum": 100}))
    assert (done.after["accepted"], done.after["refused"], done.partitions) == (1, 1, ("2024-01-02",))
    assert [fault["value"] for fault in house.quarantine(contract, *receipts(house).values())] == ["900"]


def test_what_a_trial_says_is_what_the_replay_does_and_a_trial_changes_nothing(house: House) -> None:
    contract = filled(house)
    mended, before = mend(house), state(house, contract)
    told = replay(house.exchange, mended, dry_run=True)
    assert state(house, contract) == before
    assert told == replay(house.exchange, mended)


def test_a_replay_that_is_done_is_not_done_again_unless_it_is_asked_for(house: House) -> None:
    contract = filled(house)
    assert replay(house.exchange, contract) == []
    mended = mend(house)
    replay(house.exchange, mended)
    after = state(house, contract)
    house.deliver(mended, f"{HEADER}c,2024-01-04 00:00,1\n", "fourth.csv")
    assert replay(house.exchange, mended) == []
    again = replay(house.exchange, mended, again=True)
    assert [(r.file, r.partitions) for r in again] == [(f"{n}.csv", ()) for n in ("first", "second", "third", "fourth")]
    assert state(house, contract)[3][:5] == after[3]


def test_a_replay_begins_where_it_is_told_and_a_longer_one_goes_over_all_that_follows(house: House) -> None:
    filled(house)
    mended = mend(house)
    since = datetime.fromisoformat(list(receipts(house).values())[1]["received_at"])
    assert [r.file for r in replay(house.exchange, mended, since=since)] == ["second.csv", "third.csv"]
    # The second was judged without the row that the first brings now.
    assert [r.file for r in replay(house.exchange, mended)] == ["first.csv", "second.csv", "third.csv"]
    assert receipts(house)["second.csv"]["duplicates"] == 1


def test_the_same_bytes_are_a_repetition_once_the_first_of_them_are_accepted(house: House) -> None:
    contract = house.contract(thresholds={"max_refused_share": 0})
    house.deliver(contract, ONLY_BAD, "one.csv")
    house.deliver(contract, ONLY_BAD, "two.csv")
    mended = mend(house)
    told = replay(house.exchange, mended, dry_run=True)
    assert replay(house.exchange, mended) == told
    one, two = receipts(house).values()
    assert (one["status"], two["status"], two["before"]["status"]) == ("accepted", "repeated", "refused")
    assert house.quarantine(contract, two) == []


@pytest.mark.thorough
def test_a_replay_that_died_at_any_call_is_finished_by_the_next(tmp_path: Path) -> None:
    # Ids and times of arrival differ from house to house.
    def facts(house: House, contract: Contract) -> tuple[Any, ...]:
        found = state(house, contract)
        rows = [row[:3] for row in found[3]]
        return (*found[:3], rows, len(found[4]), *found[5:])

    house = House(tmp_path / "undisturbed")
    contract = filled(house)
    replay(house.exchange, mend(house))
    wanted = facts(house, contract)
    template = House(tmp_path / "template")
    filled(template)
    mended = mend(template)
    template.exchange.index.close()

    def fresh(folder: Path) -> House:
        shutil.copytree(template.folder, folder)
        return House(folder)

    def again(house: House) -> None:
        replay(house.exchange, mended)
        intake(house.exchange, mended)
        assert facts(house, contract) == wanted

    assert dies_everywhere(tmp_path, fresh, lambda exchange, _: replay(exchange, mended), again, step=7) > 30


def test_two_replays_at_once_share_the_work(house: House) -> None:
    contract = filled(house)
    mended, twin = mend(house), Exchange(house.exchange.settings)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda exchange: replay(exchange, mended), [house.exchange, twin]))
    twin.index.close()
    assert sorted(entry.file for part in done for entry in part) == ["first.csv", "second.csv", "third.csv"]
    assert [receipt["before"]["contract_version"] for receipt in receipts(house).values()] == ["1.0.0"] * 3
    assert len(house.clean(contract)) == 5


def test_a_delivery_judged_by_rows_that_a_replay_took_away_is_judged_anew(house: House) -> None:
    contract = filled(house)
    house.drop(contract, f"{HEADER}a,2024-01-01 01:00,-3\n", "late.csv")
    mended = mend(house)
    [name] = seal_inbox(house.exchange, mended)
    [row] = house.exchange.index.rows(sa.select(deliveries).where(deliveries.c.delivery == name))
    with workbench(house.exchange, mended) as (connection, folder):
        loaded = load(house.exchange, mended, dict(row), connection, folder)
        assert loaded.receipt["accepted"] == 1
        # The replay takes the new delivery in first, by the rows that stand, and exchanges them then.
        replay(house.exchange, mended)
        with pytest.raises(StandingChanged):
            record(house.exchange, dict(row), loaded.receipt, files=loaded.files, standing=loaded.standing)
    assert receipts(house)["late.csv"]["duplicates"] == 1
    assert datetime.now(UTC) > datetime.fromisoformat(receipts(house)["late.csv"]["replayed_at"])


def test_a_unit_is_held_to_the_deliveries_before_and_not_to_those_that_came_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausibility, "HISTORY", 3)
    contract = house.contract(thresholds={"max_refused_share": 1, "unit_change": "ignore"})
    # From the third day on in Wh, as was agreed.
    for day in range(1, 7):
        rows = [f"{meter},2024-01-{day:02d} 00:00,{1 if day < 3 else 1000}\n" for meter in range(40)]
        house.deliver(contract, HEADER + "".join(rows), f"{day}.csv")
    mended = mend(house)
    assert mended.exchange.thresholds.unit_change == "refuse"
    told = replay(house.exchange, mended, dry_run=True)
    assert replay(house.exchange, mended) == told
    assert [receipt["accepted"] for receipt in receipts(house).values()] == [40] * 6


def test_a_trial_knows_the_partitions_that_it_made_itself(house: House) -> None:
    moving = [METER, {**column("read_at", "timestamp", parse={"zone": "UTC"}), "required": True}, USE]
    contract = house.contract(moving, kind="snapshot")
    house.deliver(contract, f"{HEADER}a,2024-01-01 00:00,5\n", "first.csv")
    house.deliver(contract, f"{HEADER}a,2024-01-02 00:00,6\n", "second.csv")
    house.deliver(contract, f"{HEADER}a,2024-01-02 00:00,6\nb,2024-01-02 00:00,1\n", "third.csv")
    # A row's place among the days says nothing of its key: a correction takes it to another day.
    house.contract(moving)
    path = house.exchange.settings.contracts_path / "town" / "readings.odcs.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    house.exchange.__dict__.pop("contracts", None)
    mended = house.exchange.contract(contract.key)
    told = replay(house.exchange, mended, dry_run=True)
    assert [(entry.after["accepted"], entry.after["duplicates"]) for entry in told] == [(1, 0), (1, 0), (1, 1)]
    assert replay(house.exchange, mended) == told
