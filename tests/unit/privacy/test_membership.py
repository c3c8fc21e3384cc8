"""Pseudonyms of membership records: the same for a population, another for the next, and nothing without the key."""

from pathlib import Path

import pytest

from lakehouse.exchange import Exchange
from lakehouse.privacy.membership import MembershipKey, membership_key
from lakehouse.settings import Settings

KEY = MembershipKey(bytes(range(32)))


def test_a_household_has_one_pseudonym_in_a_population_and_another_in_the_next() -> None:
    assert KEY.pseudonym("household/meter/l", "17") == KEY.pseudonym("household/meter/l", "17")
    assert KEY.pseudonym("household/meter/l", "17") != KEY.pseudonym("household/customer/wh", "17")
    assert KEY.pseudonym("household/meter/l", "") != KEY.pseudonym("household/meter/l", None)
    assert KEY.pseudonym("household/meter/l", "17") != MembershipKey(bytes(32)).pseudonym("household/meter/l", "17")


def test_it_follows_from_the_salt_alone_where_there_is_one() -> None:
    first = KEY.pseudonym("household/meter/l", "17", salt=b"s" * 16)
    assert first == KEY.pseudonym("household/meter/l", "another pseudonym in clean", salt=b"s" * 16)
    assert first != KEY.pseudonym("household/meter/l", "17", salt=b"t" * 16)
    assert first != KEY.pseudonym("household/meter/l", "17")


def test_the_key_is_made_once_and_shown_nowhere(tmp_path: Path) -> None:
    exchange = Exchange(Settings(home=tmp_path))
    made = membership_key(exchange)
    assert membership_key(exchange) == made
    assert made.secret.hex() not in repr(made)
    assert repr(made.secret) not in repr(made)


def test_a_key_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "exchange.audit.1.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="holds 5 bytes, not 32: restore it"):
        membership_key(Exchange(Settings(home=tmp_path)))
