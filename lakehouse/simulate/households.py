"""The people of a city: who lives where, with how many, and how much water they use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints, chance
from lakehouse.simulate.districts import DISTRICTS

# Of 400 households the two smallest districts hold a dozen, the largest eighty.
_DISTRICT_SHARE = {3: 0.20, 2: 0.18, 10: 0.15, 4: 0.13, 9: 0.11, 5: 0.09, 1: 0.06, 8: 0.05, 7: 0.02, 6: 0.01}
_SIZE_SHARE = (0.44, 0.30, 0.11, 0.10, 0.04, 0.01)

# One household of so many is a laundry, a hotel, a leak.
_BIG_USER_EVERY, _BIG_USER = 251, 17


@dataclass(frozen=True, kw_only=True)
class Households:
    """Arrays of one value a household: ``key`` like a UUID, ``district`` the district's number,
    ``persons``, ``litres`` of water an average day, ``clock`` the second of the hour at which its meter
    speaks."""

    key: pl.Series
    district: Ints
    persons: Ints
    litres: Floats
    clock: Ints


def households(*, seed: int, count: int) -> Households:
    """The same first households for any ``count``."""
    codes = np.array(list(_DISTRICT_SHARE))
    district = codes[_pick(seed, "district", count, tuple(_DISTRICT_SHARE.values()))]
    persons = 1 + _pick(seed, "persons", count, _SIZE_SHARE)
    habit = np.exp(0.45 * chance(seed=seed, purpose="habit").standard_normal(count))
    big = np.arange(count) % _BIG_USER_EVERY == _BIG_USER
    factor = np.where(big, chance(seed=seed, purpose="big users").uniform(10, 30, count), 1.0)
    return Households(
        key=_keys(seed, count),
        district=district,
        persons=persons,
        litres=np.round(95 * persons**0.85 * habit * factor),
        clock=chance(seed=seed, purpose="clock").integers(30, 3300, count),
    )


def water_register(people: Households) -> pl.DataFrame:
    """One row a household, in the columns of ``daiad/water_meter_register``."""
    names = pl.DataFrame({"area_code": list(DISTRICTS), "area_name": [name for name, _ in DISTRICTS.values()]})
    register = pl.DataFrame({"user key": people.key, "area_code": people.district, "household_size": people.persons})
    return register.join(names, on="area_code", how="left", maintain_order="left").select(
        "user key", "area_code", "area_name", "household_size"
    )


def _pick(seed: int, purpose: str, count: int, shares: tuple[float, ...]) -> Ints:
    drawn = chance(seed=seed, purpose=purpose).random(count)
    return np.searchsorted(np.cumsum(shares)[:-1], drawn, side="right").astype(np.int64)


def _keys(seed: int, count: int) -> pl.Series:
    """Random keys in the form of UUIDs of version 4."""
    digits = chance(seed=seed, purpose="user key").bytes(16 * count).hex().encode()
    whole = pl.col("digits").str
    parts = [whole.slice(0, 8), whole.slice(8, 4), pl.lit("4") + whole.slice(13, 3)]
    parts += [pl.lit("a") + whole.slice(17, 3), whole.slice(20, 12)]
    frame = pl.DataFrame({"digits": np.frombuffer(digits, dtype="S32").astype("U32")})
    return frame.select(pl.concat_str(parts, separator="-").alias("user key"))["user key"]
