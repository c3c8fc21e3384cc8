"""Ids of people in ``clean``: the same pseudonym in all data of a provider, another elsewhere, and the way back cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lakehouse.contracts.load import ContractError
from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.erase import erase
from lakehouse.erasure.forget import forget
from lakehouse.landing import intake as intaking
from lakehouse.landing.history import history
from lakehouse.landing.replay import replay
from lakehouse.landing.seal import seal_inbox
from lakehouse.privacy.keys import KeyFault
from lakehouse.privacy.vault import Vault, VaultChanged
from lakehouse.release.doctor import rebuild_index
from lakehouse.storage.index import clean_files, forgotten_salts, vaults
from tests.unit.landing.conftest import NUMBER, READ_AT, USE, House, column

ROWS = "meter,read_at,customer,use_kwh\n710017,2024-01-01 00:00,Ann,1\n710018,2024-01-01 00:00,Ann,2\n710019,2024-01-01 00:00,Bo,3\n"


def trips(house: House) -> Contract:
    trip = column("trip", "string", key=1, classification="identifier")
    rider = column("rider", "string", classification="identifier", required=True)
    started = column("started_at", "timestamp", required=True, parse={"zone": "UTC"})
    return house.contract([trip, rider, started], dataset="trips", subject="rider")


def test_clean_holds_no_id_and_keeps_types(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    rows = house.clean(contract, "meter, customer, use_kwh::INT", "use_kwh")
    assert [use for *_, use in rows] == [1, 2, 3]
    assert all(isinstance(meter, int) and meter > 1000 for meter, *_ in rows)
    assert [len(name) for _, name, _ in rows] == [32, 32, 32]
    assert rows[0][1] == rows[1][1] != rows[2][1]
    files = list((house.folder / "lake" / "clean").rglob("*.parquet"))
    assert files
    assert not any(b"Ann" in path.read_bytes() for path in files)


def test_register_and_readings_join_and_quarantine_keeps_ids(
    house: House, contract: Contract, register: Contract
) -> None:
    house.deliver(register, "meter,area\n710017,north\n710018,south\n", name="register.csv")
    receipt = house.deliver(contract, ROWS + "710017,2024-01-02 00:00,Ann,-5\n")
    areas = dict(house.clean(register, "meter, area"))
    assert [areas.get(meter) for (meter,) in house.clean(contract, "meter", "use_kwh")] == ["north", "south", None]
    [refused] = house.quarantine(contract, receipt)
    assert '"710017"' in refused["row"]


def test_one_id_at_two_providers_is_two_people(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    mine, theirs = Vault(house.exchange, "town"), Vault(house.exchange, "village")
    meter = contract.column("meter")
    ids = [str(number) for number in range(1000)]
    first, second = mine.pseudonyms(meter, ids), theirs.pseudonyms(meter, ids)
    assert len(set(first)) == len(set(second)) == 1000
    assert not set(first) & set(second)
    assert mine.pseudonyms(meter, ids) == first  # the canary sees a join where there is one


def test_corrections_and_repetitions_are_known_again(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    again = house.deliver(contract, ROWS + "\n", name="again.csv")
    assert (again["accepted"], again["duplicates"]) == (0, 3)
    moved = house.deliver(contract, ROWS.splitlines()[0] + "\n710017,2024-01-01 00:00,Bo,9\n", name="corrected.csv")
    assert (moved["accepted"], moved["corrections"]) == (1, 1)
    meter = house.people(contract, "meter", ["710017"])
    [bo] = house.people(contract, "customer", ["Bo"])
    versions = house.clean(contract, "meter, customer, use_kwh::INT", "exchange_delivery")
    assert [row for row in versions if row[0] in meter][1:] == [(*meter, bo, 9)]


def test_a_row_that_moves_is_withdrawn_under_what_stood(house: House) -> None:
    contract = trips(house)
    house.deliver(contract, "trip,rider,started_at\nT1,Ann,2024-01-01 00:00\nT2,Bo,2024-01-01 00:00\n")
    receipt = house.deliver(contract, "trip,rider,started_at\nT1,Cy,2024-01-05 00:00\n", name="moved.csv")
    assert receipt["withdrawn"] == 1
    ann, cy = house.people(contract, "rider", ["Ann", "Cy"])
    [trip] = house.people(contract, "trip", ["T1"])
    found = house.clean(contract, "trip, rider, started_at::DATE::VARCHAR, exchange_withdrawn", "ALL")
    assert sorted(row for row in found if row[0] == trip) == sorted(
        [
            (trip, ann, "2024-01-01", False),
            (trip, ann, "2024-01-01", True),
            (trip, cy, "2024-01-05", False),
        ]
    )


def test_an_id_that_names_a_row_has_no_salt(house: House) -> None:
    contract = trips(house)
    house.deliver(contract, "trip,rider,started_at\nT1,Ann,2024-01-01 00:00\n")
    assert {entry.key for entry in house.exchange.lake.list("vault")} == {"town/state.json", "town/rider.parquet"}


def test_history_takes_the_providers_id(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    house.deliver(contract, ROWS.splitlines()[0] + "\n710017,2024-01-01 00:00,Ann,9\n", name="corrected.csv")
    found = history(house.exchange, contract, where={"meter": "710017"})
    assert [(row["meter"], int(row["use_kwh"]), row["stands"]) for row in found] == [
        ("710017", 1, False),
        ("710017", 9, True),
    ]
    assert found[0]["customer"] == house.people(contract, "customer", ["Ann"])[0]
    assert len(history(house.exchange, contract, where={"customer": "Ann"})) == 3
    assert history(house.exchange, contract, where={"meter": "99"}) == []


def test_replay_writes_the_same_pseudonyms_and_a_trial_of_it_keeps_nobody(house: House) -> None:
    strict = house.contract([NUMBER, READ_AT, {**USE, "logicalTypeOptions": {"maximum": 5}}])
    text = "meter,read_at,use_kwh\n710017,2024-01-01 00:00,1\n710018,2024-01-01 00:00,9\n"
    house.deliver(strict, text)
    before = house.clean(strict, "meter")
    kept = house.exchange.lake.read_bytes("vault", "town/meter.parquet")
    contract = house.contract([NUMBER, READ_AT, USE])
    [tried] = replay(house.exchange, contract, again=True, dry_run=True)
    assert tried.after["accepted"] == 2
    assert house.exchange.lake.read_bytes("vault", "town/meter.parquet") == kept
    replay(house.exchange, contract, again=True)
    after = house.clean(contract, "meter")
    assert set(before) < set(after)
    assert len(after) == 2


def test_a_replay_that_changes_nothing_writes_the_same_bytes(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    [outcome] = replay(house.exchange, contract, again=True)
    assert outcome.partitions == ()


def test_people_taken_in_by_two_at_once_get_one_pseudonym(house: House, contract: Contract) -> None:
    meter = contract.column("meter")
    first, second = Vault(house.exchange, "town"), Vault(house.exchange, "town")
    ours = first.pseudonyms(meter, ["710017", "710018"])
    assert second.pseudonyms(meter, ["710018", "710019"])[0] != ours[1]
    first.keep()
    with pytest.raises(VaultChanged):
        second.keep()
    house.deliver(contract, ROWS)
    assert house.people(contract, "meter", ["710017", "710018"]) == ours


def test_a_million_people_are_kept_in_one_object(house: House, contract: Contract) -> None:
    """Here of twenty thousand; the decision on pseudonyms has the time of a million."""
    meter = contract.column("meter")
    vault = Vault(house.exchange, "town")
    ids = [str(number) for number in range(20_000)]
    made = vault.pseudonyms(meter, ids)
    vault.keep()
    table = pq.read_table(house.folder / "lake" / "vault" / "town" / "meter.parquet")
    assert table.num_rows == 20_000
    assert Vault(house.exchange, "town").pseudonyms(meter, ids[::-1]) == made[::-1]


def test_another_machines_key_is_refused_and_not_used(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    key = house.folder / "home" / "keys" / "town.pseudonym.1.key"
    key.write_bytes(bytes(32))
    with pytest.raises(KeyFault, match=r"town\.pseudonym\.1 is not the one.*restore it from its backup"):
        house.deliver(contract, ROWS + "710020,2024-01-01 00:00,Cy,4\n", name="more.csv")


def erased(house: House, contract: Contract, subject: str = "710017") -> dict[str, Any]:
    return erase(house.exchange, contract, subject=subject, reason="asked for it")


def test_an_erased_persons_salt_goes_and_with_it_the_way_from_id_to_pseudonym(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    [before] = house.people(contract, "meter", ["710019"])
    [bo] = house.people(contract, "customer", ["Bo"])
    certificate = erased(house, contract, "710019")
    assert certificate["proven_absent"]
    # The meter and its customer, of whom nothing else stands.
    assert certificate["taken_out"]["salts"] == 2
    assert house.people(contract, "meter", ["710019"]) == [None]
    assert house.people(contract, "customer", ["Bo"]) == [None]
    [anew] = Vault(house.exchange, "town").pseudonyms(contract.column("meter"), ["710019"])
    assert anew != before
    kept = json.dumps(certificate)
    assert str(before) not in kept
    assert bo not in kept


def test_a_customer_with_another_meter_stays(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    [ann] = house.people(contract, "customer", ["Ann"])
    assert erased(house, contract)["taken_out"]["salts"] == 1
    assert house.people(contract, "customer", ["Ann"]) == [ann]


def test_the_salt_stays_while_anything_stands_under_it(house: House, contract: Contract, register: Contract) -> None:
    house.deliver(register, "meter,area\n710017,north\n710018,south\n", name="register.csv")
    house.deliver(contract, ROWS)
    [before] = house.people(contract, "meter", ["710017"])
    first = erased(house, contract)
    assert not first["proven_absent"]
    assert all("register" in place for place in first["searched"]["still_in"])
    assert any(place.startswith("clean/") for place in first["searched"]["still_in"])
    assert house.people(contract, "meter", ["710017"]) == [before]
    assert erased(house, register)["proven_absent"]
    assert house.people(contract, "meter", ["710017"]) == [None]


def test_a_restored_backup_of_the_vault_brings_nobody_back(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    backup = house.exchange.lake.read_bytes("vault", "town/meter.parquet")
    erased(house, contract)
    house.exchange.lake.write_bytes("vault", "town/meter.parquet", backup)
    assert house.people(contract, "meter", ["710017", "99"]) == [None, None]
    assert house.people(contract, "meter", ["710018"]) != [None]
    with house.exchange.index.begin() as connection:
        connection.execute(sa.delete(forgotten_salts))
    assert house.people(contract, "meter", ["710017"]) != [None]  # without the list it would
    rebuild_index(house.exchange)
    assert house.people(contract, "meter", ["710017"]) == [None]
    house.deliver(contract, ROWS + "710020,2024-01-01 00:00,Cy,4\n", name="more.csv")
    assert pq.read_table(house.folder / "lake" / "vault" / "town" / "meter.parquet").num_rows == 3


def test_what_was_judged_by_the_vault_of_before_is_judged_anew(
    house: House, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salts of people of whom nothing stands are forgotten while a delivery of one of them is under way."""
    house.deliver(contract, ROWS)
    uploaded, drawn = intaking.upload_clean, list[str]()

    def meanwhile(exchange: Any, files: Any, **more: Any) -> None:
        uploaded(exchange, files, **more)
        if not drawn:
            drawn.extend(house.people(contract, "customer", ["Cy"]))
            assert forget(house.exchange, contract, pseudonym=None, erasure="another") == 1

    house.drop(contract, ROWS.splitlines()[0] + "\n710021,2024-01-03 00:00,Cy,7\n", name="more.csv")
    monkeypatch.setattr(intaking, "upload_clean", meanwhile)
    intaking.intake(house.exchange, contract)
    [after] = house.people(contract, "customer", ["Cy"])
    assert after not in (None, *drawn)
    assert [name for (name,) in house.clean(contract, "customer", "use_kwh")][-1] == after


def test_a_lost_index_knows_the_vaults_state(house: House, contract: Contract) -> None:
    house.deliver(contract, ROWS)
    people = house.people(contract, "meter", ["710017", "710018"])
    with house.exchange.index.begin() as connection:
        connection.execute(sa.delete(vaults))
        connection.execute(sa.delete(clean_files))
    rebuild_index(house.exchange)
    assert house.people(contract, "meter", ["710017", "710018"]) == people
    assert house.deliver(contract, ROWS + "\n", name="again.csv")["duplicates"] == 3


def test_an_identifier_that_is_no_text_and_no_whole_number_is_a_fault(house: House) -> None:
    with pytest.raises(Exception, match="an identifier is a string or an integer"):
        house.contract([column("meter", "date", key=1, classification="identifier"), USE], kind="snapshot")


def test_an_id_of_a_provider_has_one_type(house: House, contract: Contract) -> None:
    text = column("meter", "string", key=1, classification="identifier")
    with pytest.raises(ContractError, match="'meter' is of type string here and of type integer in town/readings"):
        house.contract([text], dataset="register", kind="snapshot")


def test_the_log_of_duckdb_shows_no_key(house: House, contract: Contract, tmp_path: Path) -> None:
    house.drop(contract, ROWS)
    seal_inbox(house.exchange, contract)
    logged: list[str] = []
    opened = duckdb.connect

    def watched(*arguments: Any, **named: Any) -> Any:
        connection = opened(*arguments, **named)
        connection.execute("CALL enable_logging('QueryLog', storage = 'memory')")
        return _Watched(connection, logged)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", watched)
        intaking.load_sealed(house.exchange, contract)
    text = "\n".join(logged)
    assert "COPY" in text
    for path in (house.folder / "home" / "keys").iterdir():
        assert path.read_bytes().hex() not in text


class _Watched:
    """A connection whose log is read before it closes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, logged: list[str]) -> None:
        self._connection, self._logged = connection, logged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._logged += [text for (text,) in self._connection.execute("SELECT message FROM duckdb_logs").fetchall()]
        self._connection.close()
