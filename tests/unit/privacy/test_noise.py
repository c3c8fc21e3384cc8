"""Capping bounds what one unit can change; noise is OpenDP's, whole numbers, and as large as published formulas say."""

import math
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import opendp.prelude as dp
import pytest

from lakehouse.privacy.dp import Counts, cap_units, noise_of, true_counts
from lakehouse.privacy.ledger import epsilon
from tests.noisy_mart import build_database, dp_policy, noisy_mart

OCTOBER = "hour_utc >= TIMESTAMPTZ '2024-10-01' AND hour_utc < TIMESTAMPTZ '2024-11-01'"
Rows = list[tuple[str | None, str, str]]


def counts_of(folder: Path, rows: Rows, *, cap: int = 4) -> Counts:
    mart = noisy_mart(folder, value__4=str(cap))
    with build_database(rows) as connection:
        cap_units(connection, mart, dp_policy(mart), OCTOBER)
        found: Counts = true_counts(connection, mart, dp_policy(mart), OCTOBER)["units"].to_numpy()
        return found


def rows_of(unit: str, generator: random.Random, most: int) -> Rows:
    return [
        (unit, generator.choice("abcd"), f"2024-10-01 0{generator.randrange(6)}:00:00+00")
        for _ in range(generator.randrange(1, most))
    ]


@pytest.mark.parametrize("seed", range(12))
def test_one_unit_more_or_less_moves_the_counts_by_the_cap_at_most(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    cap = generator.randrange(1, 5)
    others = [row for number in range(8) for row in rows_of(f"u{number}", generator, 30)]
    with_one = [*others, *rows_of("target", generator, 60)]
    generator.shuffle(with_one)
    without, given = (counts_of(tmp_path, rows, cap=cap) for rows in (others, with_one))
    difference = given - without
    assert np.abs(difference).max() == 1
    assert np.abs(difference).sum() <= cap
    assert math.sqrt((difference**2).sum()) <= math.sqrt(cap)


def test_a_unit_counts_once_in_a_cell_and_in_as_many_as_the_cap_allows(tmp_path: Path) -> None:
    same = [("u", "a", "2024-10-01 00:00:00+00")] * 5
    many: Rows = [("v", area, f"2024-10-01 0{hour}:00:00+00") for area in "abcd" for hour in range(6)]
    assert counts_of(tmp_path, list(same)).sum() == 1
    assert counts_of(tmp_path, many).sum() == 4


def test_what_counts_of_a_unit_does_not_depend_on_its_name(tmp_path: Path) -> None:
    """A rotated key gives everybody another pseudonym; a day that is drawn again must find its kept draw."""
    generator = random.Random(1)
    rows = [row for number in range(40) for row in rows_of(f"u{number}", generator, 40)]
    renamed = [(f"{str(unit)[::-1]} anew", area, hour) for unit, area, hour in rows]
    found, again = (counts_of(tmp_path, given, cap=2) for given in (rows, renamed))
    assert len(set(rows)) > found.sum() == 80
    assert again.tolist() == found.tolist()


def test_two_units_that_did_otherwise_do_not_lose_the_same_cells(tmp_path: Path) -> None:
    """Else the cells that come last would lose whatever is above the cap, of everybody."""
    hours = [f"2024-10-01 0{hour}:00:00+00" for hour in range(6)]
    rows: Rows = [
        (f"u{number}", area, hour)
        for number in range(60)
        for area in "abcd"
        for place, hour in enumerate(hours)
        if number >> place & 1 or area == "a"
    ]
    found = counts_of(tmp_path, rows, cap=2)
    assert found.sum() == 120
    assert np.count_nonzero(found) >= 20


def test_rows_without_a_unit_or_outside_the_public_cells_do_not_count(tmp_path: Path) -> None:
    rows: Rows = [(None, "a", "2024-10-01 00:00:00+00"), ("u", "elsewhere", "2024-10-01 00:00:00+00")]
    assert counts_of(tmp_path, rows).tolist() == [0] * 24


def test_every_public_cell_is_counted_whatever_was_delivered(tmp_path: Path) -> None:
    assert counts_of(tmp_path, []).tolist() == [0] * 24
    assert counts_of(tmp_path, [("u", "d", "2024-10-01 05:00:00+00")]).tolist() == [0] * 23 + [1]


@pytest.mark.parametrize(
    ("cap", "rho", "scale"),
    [(1, "0.5", 1.0), (4, "0.5", 2.0), (3, "0.01", math.sqrt(150)), (2, "0.125", math.sqrt(8))],
)
def test_gaussian_noise_is_as_large_as_its_sensitivity_and_rho_ask(
    tmp_path: Path, cap: int, rho: str, scale: float
) -> None:
    """rho = sensitivity² / 2 sigma² (Bun and Steinke 2016, proposition 1.6; discrete: Canonne and others 2020)."""
    policy = dp_policy(noisy_mart(tmp_path, value__4=str(cap)))
    budget = policy.budget.model_copy(update={"rho": Decimal(rho)})
    noise = noise_of(policy.model_copy(update={"budget": budget}))
    assert scale < noise.scale <= scale + 0.0021
    assert cap / (2 * noise.scale**2) == pytest.approx(noise.rho, rel=1e-9)
    assert noise.rho <= float(rho)


def test_laplace_noise_is_as_large_as_its_sensitivity_and_rho_ask(tmp_path: Path) -> None:
    """epsilon = sensitivity / scale, and epsilon-DP is (epsilon² / 2)-zCDP (Bun and Steinke 2016, proposition 1.4)."""
    noise = noise_of(dp_policy(noisy_mart(tmp_path, mechanism__discrete_gaussian="discrete_laplace")))
    assert noise.scale == pytest.approx(4.0, abs=0.0021)
    assert noise.rho == pytest.approx((4 / noise.scale) ** 2 / 2, rel=1e-9)
    assert noise.rho <= 0.5


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "discrete_laplace"])
def test_noise_is_whole_centred_and_within_its_stated_error_nine_times_in_ten(tmp_path: Path, mechanism: str) -> None:
    noise = noise_of(dp_policy(noisy_mart(tmp_path, mechanism__discrete_gaussian=mechanism)))
    drawn = noise.draw(np.zeros(20_000, dtype=np.int64))
    assert drawn.dtype == np.int64
    assert abs(drawn.mean()) < 6 * noise.standard_error / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(noise.standard_error, rel=0.06)
    half = noise.half_width()
    assert np.mean(np.abs(drawn) <= half) > 0.89
    assert np.mean(np.abs(drawn) <= half - 1) < 0.91


def test_every_output_of_an_input_is_one_of_its_neighbour_too(tmp_path: Path) -> None:
    """The support does not give the input away (Mironov 2012): near the counts each whole number is drawn from both."""
    noise = noise_of(dp_policy(noisy_mart(tmp_path)))
    for true in (0, 1):
        drawn = set(noise.draw(np.full(20_000, true, dtype=np.int64)).tolist())
        assert set(range(-4, 6)) <= drawn


def test_two_draws_differ() -> None:
    """A seed would let anybody who knows it take the noise off again."""
    measurement = dp.m.make_gaussian(dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64"), scale=20.0)
    assert measurement([0] * 50) != measurement([0] * 50)


@pytest.mark.parametrize("rho", ["0.01", "0.32", "3.66"])
def test_epsilon_is_the_published_bound_and_a_little_above_opendps(rho: str) -> None:
    """epsilon = rho + 2 √(rho ln(1/delta)); OpenDP searches for the least epsilon, which is lower."""
    delta = Decimal("0.000001")
    ours = epsilon(Decimal(rho), delta)
    assert ours == pytest.approx(float(rho) + 2 * math.sqrt(float(rho) * 13.815510557964274))
    measurement = dp.m.make_gaussian(
        dp.atom_domain(T="i64"), dp.absolute_distance(T="f64"), scale=math.sqrt(1 / (2 * float(rho)))
    )
    theirs = dp.c.make_zCDP_to_approxDP(measurement).map(1.0).epsilon(float(delta))
    assert 0.8 * ours < theirs <= ours
