"""Copenhagen's ten districts as ten rectangles side by side, with the real ones' codes and names."""

from __future__ import annotations

import json
import math
from pathlib import Path

from lakehouse.simulate.city import Written

PROVIDER, DATASET = "copenhagen", "districts"

# Code (bydel_nr): name and the id that the publisher gives beside it, in the order of the real file.
DISTRICTS = {
    2: ("Østerbro", 2),
    1: ("Indre By", 1),
    6: ("Vanløse", 30),
    7: ("Brønshøj-Husum", 32),
    9: ("Amager Øst", 9),
    5: ("Valby", 31),
    10: ("Amager Vest", 10),
    8: ("Bispebjerg", 8),
    3: ("Nørrebro", 3),
    4: ("Vesterbro-Kongens Enghave", 4),
}

# Columns from west to east, the northern district of each first.
_GRID = ((7, 6), (8, 5), (3, 4), (2, 1), (9, 10))
_WEST, _SOUTH, _WIDTH, _HEIGHT = 12.45, 55.61, 0.04, 0.06
_METRES_PER_DEGREE = 111_320


def bounds(code: int) -> tuple[float, float, float, float]:
    """West, south, east and north of a district, degrees (EPSG:4326)."""
    column = next(number for number, codes in enumerate(_GRID) if code in codes)
    west = _WEST + column * _WIDTH
    south = _SOUTH + (1 - _GRID[column].index(code)) * _HEIGHT
    return round(west, 4), round(south, 4), round(west + _WIDTH, 4), round(south + _HEIGHT, 4)


def write_districts(*, out: Path) -> Written:
    """A GeoJSON FeatureCollection; always clean, for every other dataset is placed by it."""
    features = [_feature(number, code) for number, code in enumerate(DISTRICTS, start=1)]
    count = len(features)
    document = {
        "type": "FeatureCollection",
        "features": features,
        "totalFeatures": count,
        "numberMatched": count,
        "numberReturned": count,
        "timeStamp": "2024-05-05T20:41:48.938Z",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}},
    }
    path = out / PROVIDER / DATASET / "cph_bydele.geojson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    return Written(provider=PROVIDER, dataset=DATASET, path=path, rows=count)


def _feature(number: int, code: int) -> dict[str, object]:
    name, publisher_id = DISTRICTS[code]
    west, south, east, north = bounds(code)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    metres = _METRES_PER_DEGREE**2 * math.cos(math.radians((south + north) / 2))
    return {
        "type": "Feature",
        "id": f"bydel.{number}",
        "geometry": {"type": "MultiPolygon", "coordinates": [[ring]]},
        "geometry_name": "wkb_geometry",
        "properties": {
            "id": publisher_id,
            "bydel_nr": code,
            "navn": name,
            "areal_m2": round((east - west) * (north - south) * metres),
            "ogc_fid": number,
        },
    }
