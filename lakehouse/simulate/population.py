"""Population of municipalities by marital status: ISO-8859-1, no header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.faults import bad_number, impossible_date, missing_key, write_with_faults
from lakehouse.simulate.files import DeliveryFile, Dialect

PROVIDER, DATASET = "dst", "population"
DIALECT = Dialect(separator=";", quotes="non_numeric", header=False, encoding="iso-8859-1")

# Municipality as the statistics name it, and thousands of people.
_MUNICIPALITIES = {
    **{
        "Copenhagen": 633,
        "Frederiksberg": 104,
        "Dragør": 15,
        "Tårnby": 43,
        "Albertslund": 28,
        "Ballerup": 49,
    },
    **{"Brøndby": 35, "Gentofte": 75, "Gladsaxe": 69, "Glostrup": 23, "Herlev": 29, "Hvidovre": 53},
    **{"Høje-Taastrup": 51, "Ishøj": 23, "Lyngby-Taarbæk": 56, "Rødovre": 41, "Vallensbæk": 17, "Furesø": 41},
    **{"Køge": 61, "Roskilde": 88, "Odense": 205, "Aarhus": 349, "Aalborg": 217, "Læsø": 2},
}
_STATUS_SHARE = {"Never married": 0.48, "Married/separated": 0.37, "Widowed": 0.05, "Divorced": 0.10}


def write_population(*, city: City, out: Path) -> Written:
    """A row a status and municipality for the quarter of the city's start: quarter, status, municipality,
    total, men, women. The total is the sum of the four statuses."""
    rows = _people(city)
    with DeliveryFile(out=out, provider=PROVIDER, dataset=DATASET, name="Population.csv", dialect=DIALECT) as file:
        if city.quirks:
            faults = (
                bad_number("total"),
                impossible_date("quarter", "Q.$", "Q7"),
                missing_key("municipality"),
            )
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults, duplicates=1)
        else:
            file.write(rows)
    return file.written()


def _people(city: City) -> pl.DataFrame:
    generator = chance(seed=city.seed, purpose="population")
    thousands = np.array(list(_MUNICIPALITIES.values()))
    shares = np.array(list(_STATUS_SHARE.values()))[:, None]
    uneven = generator.integers(950, 1_051, (len(_STATUS_SHARE), thousands.size)) / 1_000
    everyone = np.round(thousands[None, :] * 1_000 * shares * uneven).astype(np.int64)
    men = np.round(everyone * generator.integers(480, 511, everyone.shape) / 1_000).astype(np.int64)
    status = ["Total", *_STATUS_SHARE]
    total, total_men = (np.vstack([part.sum(axis=0), part]).ravel() for part in (everyone, men))
    quarter = f"{city.start.year}Q{(city.start.month + 2) // 3}"
    return pl.DataFrame(
        {
            "quarter": np.full(total.size, quarter),
            "status": np.repeat(status, thousands.size),
            "municipality": np.tile(list(_MUNICIPALITIES), len(status)),
            "total": total,
            "men": total_men,
            "women": total - total_men,
        }
    )
