"""A provider's next pseudonym key is taken into use: all of its clean data is of one epoch, whenever it is killed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.erase import erase
from lakehouse.landing import rotate as rotating
from lakehouse.landing.replay import replay
from lakehouse.landing.rotate import UnknownPerson, rotate
from lakehouse.privacy.keys import KeyFault, Scope, open_keys, signing_key
from lakehouse.release.doctor import rebuild_index
from lakehouse.release.signing import key_id
from lakehouse.storage.index import clean_files, vaults
from tests.dying import Died, mortal
from tests.unit.landing.conftest import House

HEADER = "meter,read_at,customer,use_kwh\n"
ROWS = f"{HEADER}710017,2024-01-01 00:00,Ann,1\n710018,2024-01-02 00:00,Ann,2\n710019,2024-01-02 00:00,,3\n"
AREAS = "meter,area\n710017,north\n710018,south\n"


@pytest.fixture
def filled(house: House, contract: Contract, register: Contract) -> House:
    house.deliver(register, AREAS, name="register.csv")
    house.deliver(contract, ROWS)
    return house


def areas(house: House, contract: Contract, register: Contract) -> list[Any]:
    """By register and readings joined, in the order of use."""
    known = dict(house.clean(register, "meter, area"))
    return [known.get(meter) for (meter,) in house.clean(contract, "meter", "use_kwh")]


def test_everything_goes_on_under_the_next_epoch(filled: House, contract: Contract, register: Contract) -> None:
    before = filled.clean(contract, "meter, customer, use_kwh", "use_kwh")
    changes = filled.exchange.index.rows(sa.select(clean_files.c.partition, clean_files.c.change))
    outcome = rotate(filled.exchange, "town", dry_run=False)
    assert (outcome.done, outcome.epoch, outcome.files, outcome.rows, outcome.people) == (True, 2, 3, 5, 4)
    after = filled.clean(contract, "meter, customer, use_kwh", "use_kwh")
    assert [row[2] for row in after] == [row[2] for row in before]
    assert not {row[0] for row in before} & {row[0] for row in after}
    assert after[0][1] == after[1][1] != before[0][1]
    assert after[2][1] is None
    assert areas(filled, contract, register) == ["north", "south", None]
    # No build has to look at it.
    assert filled.exchange.index.rows(sa.select(clean_files.c.partition, clean_files.c.change)) == changes
    # A repetition and a correction are known again, a replay changes no byte, an erasure finds its person.
    assert filled.deliver(contract, ROWS + "\n", name="again.csv")["duplicates"] == 3
    corrected = filled.deliver(contract, f"{HEADER}710017,2024-01-01 00:00,Ann,9\n", name="corrected.csv")
    assert corrected["corrections"] == 1
    assert all(one.partitions == () for one in replay(filled.exchange, contract, again=True))
    assert erase(filled.exchange, contract, subject="710018", reason="asked")["taken_out"]["clean rows"] == 1


def test_nothing_of_the_former_epoch_is_left(filled: House, contract: Contract) -> None:
    old = [str(meter) for meter in filled.people(contract, "meter", ["710017", "710018"])]
    rotate(filled.exchange, "town", dry_run=False)
    rotate(filled.exchange, "town", dry_run=False)
    names = [path.name for path in (filled.folder / "lake" / "clean").rglob("*.parquet")]
    assert len(names) == 3
    assert all("-epoch3-part-" in name for name in names)
    rows = filled.clean(contract, "meter::VARCHAR")
    assert not {meter for (meter,) in rows} & set(old)


def test_a_dry_run_changes_nothing(filled: House, contract: Contract) -> None:
    before = sorted(path for path in filled.folder.rglob("*") if path.is_file())
    outcome = rotate(filled.exchange, "town")
    assert (outcome.done, outcome.epoch, outcome.files) == (False, 2, 3)
    assert sorted(path for path in filled.folder.rglob("*") if path.is_file()) == before


def test_one_that_was_killed_is_taken_up_at_any_point(filled: House, contract: Contract, register: Contract) -> None:
    for calls in range(0, 200, 3):
        dying, fuse = mortal(filled.exchange, calls)
        dying.__dict__["contracts"] = filled.exchange.contracts
        try:
            rotate(dying, "town", dry_run=False)
        except Died:
            assert fuse.dead
        else:
            break
        # Whatever holds now holds for all of it, and for what is delivered next.
        assert areas(filled, contract, register) == ["north", "south", None]
    else:
        pytest.fail("it never came to its end")
    assert calls > 12
    assert areas(filled, contract, register) == ["north", "south", None]
    assert filled.deliver(contract, ROWS + "\n", name="again.csv")["duplicates"] == 3
    assert len(list((filled.folder / "lake" / "clean").rglob("*.parquet"))) == 3


def test_what_is_taken_in_meanwhile_is_turned_too(
    filled: House, contract: Contract, register: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = rotating._write_again

    def meanwhile(*arguments: Any) -> Any:
        sizes = write(*arguments)
        monkeypatch.setattr(rotating, "_write_again", write)
        filled.deliver(contract, f"{HEADER}710018,2024-01-05 00:00,Ann,7\n", name="more.csv")
        return sizes

    monkeypatch.setattr(rotating, "_write_again", meanwhile)
    assert rotate(filled.exchange, "town", dry_run=False).files == 4
    assert areas(filled, contract, register) == ["north", "south", None, "south"]


def test_a_delivery_that_was_judged_under_the_former_epoch_is_judged_anew(
    filled: House, contract: Contract, register: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lakehouse.landing import intake as intaking

    uploaded = intaking.upload_clean

    def meanwhile(exchange: Any, files: Any, **more: Any) -> None:
        uploaded(exchange, files, **more)
        monkeypatch.setattr(intaking, "upload_clean", uploaded)
        rotate(filled.exchange, "town", dry_run=False)

    monkeypatch.setattr(intaking, "upload_clean", meanwhile)
    filled.deliver(contract, f"{HEADER}710018,2024-01-05 00:00,Ann,7\n", name="more.csv")
    assert areas(filled, contract, register) == ["north", "south", None, "south"]


def test_a_lost_index_is_made_again_of_the_epoch_in_use(filled: House, contract: Contract, register: Contract) -> None:
    rotate(filled.exchange, "town", dry_run=False)
    with filled.exchange.index.begin() as connection:
        for table in (vaults, clean_files):
            connection.execute(sa.delete(table))
    # As a rotation leaves it that died before its exchange.
    [file, *_] = (filled.folder / "lake" / "clean" / "town" / "readings").rglob("*.parquet")
    file.with_name(file.name.replace("-epoch2-", "-epoch3-")).write_bytes(file.read_bytes())
    found = rebuild_index(filled.exchange)
    assert (found.clean_files, found.problems) == (3, [])
    assert areas(filled, contract, register) == ["north", "south", None]
    assert filled.deliver(contract, ROWS + "\n", name="again.csv")["duplicates"] == 3


def test_clean_data_from_before_pseudonyms_is_refused_with_the_way_out(filled: House, contract: Contract) -> None:
    filled.exchange.lake.delete("vault", "town/meter.parquet")
    with pytest.raises(UnknownPerson, match="exchange replay town/re[a-z]+ --again"):
        rotate(filled.exchange, "town", dry_run=False)


def test_the_former_key_opens_nothing_any_more(filled: House, contract: Contract) -> None:
    rotate(filled.exchange, "town", dry_run=False)
    keys = open_keys(filled.exchange)
    one, two = (keys.key(Scope(provider="town", purpose="pseudonym", epoch=epoch)) for epoch in (1, 2))
    assert one != two
    (filled.folder / "home" / "keys" / "town.pseudonym.1.key").unlink()
    assert filled.deliver(contract, ROWS + "\n", name="again.csv")["duplicates"] == 3
    (filled.folder / "home" / "keys" / "town.pseudonym.2.key").unlink()
    with pytest.raises(KeyFault, match=r"town\.pseudonym\.2 is not the one"):
        filled.deliver(contract, f"{HEADER}710018,2024-01-05 00:00,Ann,7\n", name="more.csv")


def test_the_command_lists_keys_and_rotates(filled: House, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = filled.exchange.settings
    for name, value in (("PROJECT", settings.project), ("HOME", settings.home), ("LAKE", settings.lake)):
        monkeypatch.setenv(f"EXCHANGE_{name}", str(value))
    run = CliRunner().invoke
    assert "nothing was changed" in run(app, ["keys", "rotate", "town"]).output
    assert json.loads(run(app, ["keys", "rotate", "town", "--apply", "--json"]).output)["done"]
    shown = run(app, ["keys", "--json"])
    used = {(key["purpose"], key["epoch"]): key["in_use"] for key in json.loads(shown.output)}
    assert used[("pseudonym", 1)] is False
    assert used[("pseudonym", 2)] is True
    assert used[("vault", 1)] is True
    for path in Path(filled.folder / "home" / "keys").iterdir():
        assert path.read_bytes().hex() not in shown.output
    refused = run(app, ["keys", "rotate", "town", "--purpose", "erasure"], catch_exceptions=True)
    assert "would be forgotten" in str(refused.exception)


def test_the_command_rotates_the_exchange_s_own_keys(filled: House, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = filled.exchange.settings
    for name, value in (("PROJECT", settings.project), ("HOME", settings.home), ("LAKE", settings.lake)):
        monkeypatch.setenv(f"EXCHANGE_{name}", str(value))
    run = CliRunner().invoke

    def told(*arguments: str) -> dict[str, Any]:
        said = run(app, ["keys", "rotate", "exchange", *arguments, "--json"])
        assert said.exit_code == 0, said.output
        found: dict[str, Any] = json.loads(said.output)
        return found

    assert told("--purpose", "signing") == {
        "purpose": "signing", "epoch": 2, "key": None, "vouched_for": True, "done": False,
    }  # fmt: skip
    made = told("--purpose", "signing", "--apply")
    assert (made["epoch"], made["done"]) == (2, True)
    assert made["key"] == key_id(signing_key(filled.exchange).public_key())
    assert told("--purpose", "signing")["epoch"] == 3
    for wrong in (["town", "--purpose", "signing"], ["exchange"], ["town", "--leaked"]):
        assert run(app, ["keys", "rotate", *wrong]).exit_code != 0
    ended_elsewhere = run(app, ["keys", "rotate", "exchange", "--purpose", "links", "--apply"])
    assert "exchange link --end-all" in str(ended_elsewhere.exception)
    monkeypatch.setenv("EXCHANGE_SIGNING_KEY", base64.b64encode(bytes(range(32))).decode())
    refused = run(app, ["keys", "rotate", "exchange", "--purpose", "signing", "--apply"])
    assert "EXCHANGE_SIGNING_KEY: give another one there" in str(refused.exception)
