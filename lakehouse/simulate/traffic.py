"""Counts of cars, bicycles and pedestrians on Copenhagen's streets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Bools, Floats, Ints, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.districts import DISTRICTS, bounds
from lakehouse.simulate.faults import bad_number, impossible_date, missing_key, write_with_faults
from lakehouse.simulate.files import DeliveryFile, Dialect

PROVIDER, DATASET = "copenhagen", "traffic_counts"
DIALECT = Dialect(line_end="\r\n")

_STREETS = (
    "H.C. Andersens Boulevard",
    "Ålandsgade",
    "Nørrebrogade",
    "Østerbrogade",
    "Gl. Køge Landevej",
    "Frederiksborgvej",
    "Amagerbrogade",
    "Gyldenløvesgade",
    "Tuborgvej",
    "Ålholmvej",
    "Vesterbrogade",
    "Søtorvet",
    "Rådmandsgade",
    "Hulgårdsvej",
    "Bernstorffsgade",
)
_PLACES = ("nord for Søgade", "syd for Åboulevard", "øst for broen", "ud for søerne", "TRAFIK", "FODG", None)
_KINDS = ((100, "Øvrige tællinger", 0.60), (3, "Andre faste tællinger", 0.36), (2, "Søsnittet", 0.04))
# Never filled in the real delivery.
_EMPTY = ("fod_7_21", "aadt_fod_7_21", "hvdt_fod_7_21", "fod_7_24", "aadt_fod_7_24", "hvdt_fod_7_24")
_COLUMNS = (
    *("FID", "t_nr", "vejnavn", "beskrivelse", "husnummer", "type", "taelling_type"),
    *("ktj_7_19", "tung_pct", "aadt_koretojer", "hvdt_koretojer"),
    *("cykler_7_19", "ladcykler_pct", "aadt_cykler", "hvdt_cykler"),
    *("fod_7_19", "aadt_fod_7_19", "hvdt_fod_7_19", *_EMPTY, "aadt_fod_label"),
    *("taelle_dato", "aar", "link", "tung_pct_real", "ladcykler_pct_real"),
    *("lastbiler_7_19", "lastbiler_pct", "elloebehjul_7_19", "elloebehjul_pct", "andre_busser_7_19"),
    *("ogc_fid", "wkb_geometry"),
)


def write_traffic_counts(*, city: City, out: Path) -> Written:
    """``counting_sites`` counts of the fifteen years before the city's start, points inside the districts."""
    rows = _counts(city)
    with DeliveryFile(out=out, provider=PROVIDER, dataset=DATASET, name="trafiktaelling.csv", dialect=DIALECT) as file:
        if city.quirks:
            repeated = rows.height // 80
            earlier = pl.col("t_nr").shift(1)
            number = pl.when(pl.col("ogc_fid") % 80 == 0).then(earlier).otherwise("t_nr")
            faults = (
                bad_number("aar"),
                impossible_date("taelle_dato", r"\d{4}$", "0230"),
                missing_key("FID"),
            )
            rows = rows.with_columns(number.alias("t_nr"))
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults, duplicates=1)
            file.note("repeated_sites", repeated)
        else:
            file.write(rows)
    return file.written()


def _counts(city: City) -> pl.DataFrame:
    count = city.counting_sites
    generator = chance(seed=city.seed, purpose="traffic")
    number = np.arange(1, count + 1)
    kind = generator.choice(len(_KINDS), count, p=[share for _, _, share in _KINDS])
    fixed = kind > 0
    cars = fixed | (generator.random(count) < 0.46)
    bicycles = fixed | (generator.random(count) < 0.57)
    walkers = ~fixed & ((generator.random(count) < 0.55) | ~(cars | bicycles))
    # The busiest counted bridge has some 30,000 bicycles a day; a tail beyond that is no city.
    size = np.minimum(np.exp(generator.normal(8.4, 1.1, count)), 30_000)
    year = city.start.year - 1 - generator.integers(0, 15, count)
    dated = year * 10_000 + generator.integers(3, 11, count) * 100 + generator.integers(1, 29, count)
    code = pl.Series(generator.integers(0, 10**10, count)).cast(pl.String).str.zfill(10)
    columns: dict[str, pl.Series] = {
        "FID": "trafiktaelling." + pl.Series(number).cast(pl.String),
        "t_nr": pl.Series(number),
        "vejnavn": pl.Series(_STREETS).gather(generator.integers(0, len(_STREETS), count)),
        "beskrivelse": pl.Series(_PLACES).gather(generator.integers(0, len(_PLACES), count)),
        "husnummer": _where(generator.random(count) < 0.7, generator.integers(1, 200, count)),
        "type": pl.Series([kind_number for kind_number, _, _ in _KINDS]).gather(kind),
        "taelling_type": pl.Series([name for _, name, _ in _KINDS]).gather(kind),
        **_traffic("ktj_7_19", "koretojer", cars, size * 1.6),
        **_traffic("cykler_7_19", "cykler", bicycles, size),
        **_traffic("fod_7_19", "fod_7_19", walkers, size * 0.8),
        **_share("tung_pct", cars, generator.integers(0, 120, count)),
        **_share("ladcykler_pct", bicycles & fixed, generator.integers(0, 80, count)),
        "lastbiler_7_19": _where(cars & fixed, size * 0.03),
        "lastbiler_pct": _comma(cars & fixed, generator.integers(10, 480, count), 2),
        "elloebehjul_7_19": _where(bicycles & (number % 40 == 3), size * 0.02),
        "elloebehjul_pct": _comma(bicycles & (number % 40 == 3), generator.integers(1, 36, count), 1),
        "andre_busser_7_19": _where(cars & fixed, generator.integers(0, 200, count)),
        "taelle_dato": pl.Series(dated),
        "aar": pl.Series(year),
        "link": "https://kk.sites.itera.dk/apps/kk_trafik/pdf/" + code + ".pdf",
        "ogc_fid": pl.Series(number),
        "wkb_geometry": _points(city.seed, count),
    }
    columns["aadt_fod_label"] = columns["aadt_fod_7_19"]
    columns |= {name: pl.Series([None] * count, dtype=pl.Int64) for name in _EMPTY}
    return pl.DataFrame({name: columns[name] for name in _COLUMNS})


def _where(present: Bools, value: Ints | Floats) -> pl.Series:
    """Whole numbers, empty where nothing was counted."""
    whole = pl.Series(np.round(value).astype(np.int64))
    return pl.select(pl.when(pl.Series(present)).then(whole).alias("value"))["value"]


def _traffic(counted: str, kind: str, present: Bools, size: Floats) -> dict[str, pl.Series]:
    """A count from 7 to 19, and the means of all days and of weekdays that are reckoned from it."""
    count = np.round(size)
    return {
        counted: _where(present, count),
        f"aadt_{kind}": _where(present, np.round(count * 1.17, -2)),
        f"hvdt_{kind}": _where(present, np.round(count * 1.31, -2)),
    }


def _share(name: str, present: Bools, tenths: Ints) -> dict[str, pl.Series]:
    """A percentage as text with a decimal comma, and again as the publisher's database has it, in 32 bits."""
    single = pl.Series(tenths / 10).cast(pl.Float32).cast(pl.Float64).round(8)
    exact = pl.when(pl.Series(present)).then(single).alias("value")
    return {name: _comma(present, tenths, 1), f"{name}_real": pl.select(exact)["value"]}


def _comma(present: Bools, units: Ints, decimals: int) -> pl.Series:
    whole, rest = np.divmod(units, 10**decimals)
    text = pl.Series(whole).cast(pl.String) + "," + pl.Series(rest).cast(pl.String).str.zfill(decimals)
    return pl.select(pl.when(pl.Series(present)).then(text).alias("value"))["value"]


def _points(seed: int, count: int) -> pl.Series:
    generator = chance(seed=seed, purpose="traffic points")
    edges = np.array([bounds(code) for code in DISTRICTS])[generator.integers(0, len(DISTRICTS), count)]
    inside = generator.uniform(0.02, 0.98, (count, 2))
    points = edges[:, :2] + (edges[:, 2:] - edges[:, :2]) * inside
    east, north = (pl.Series(points[:, axis]).cast(pl.String) for axis in (0, 1))
    return ("POINT (" + east + " " + north + ")").alias("wkb_geometry")
