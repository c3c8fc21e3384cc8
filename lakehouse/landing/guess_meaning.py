"""What a column's name says of it: its name in the lake, its unit, and what it may reveal of a person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from lakehouse.contracts.rules import RESERVED

LETTERS = str.maketrans({"æ": "ae", "ø": "oe", "å": "aa", "ß": "ss"})
UNIT_IN_HEADER = re.compile(r"\s*[(\[]([^()\[\]]{1,20})[)\]]\s*$")
UNITS = {
    "kwh": "kWh", "mwh": "MWh", "wh": "Wh", "kw": "kW", "mw": "MW", "w": "W", "gj": "GJ", "m3": "m3", "m2": "m2",
    "km2": "km2", "km": "km", "meters": "m", "metres": "m", "mm": "mm", "cm": "cm", "m": "m", "pct": "%",
    "percent": "%", "l": "L", "litres": "L", "liters": "L", "c": "°C", "celsius": "°C", "kmh": "km/h", "sec": "s",
    "seconds": "s", "s": "s", "minutes": "min", "min": "min", "hours": "h", "dkk": "DKK", "eur": "EUR", "kg": "kg",
    "hpa": "hPa", "ppm": "ppm", "lat": "degrees", "lon": "degrees", "lng": "degrees", "latitude": "degrees",
    "longitude": "degrees",
}  # fmt: skip
IDENTIFIER_WORDS = {
    "id", "uid", "uuid", "guid", "key", "cpr", "ssn", "cvr", "user", "customer", "kunde", "household", "husstand",
    "person", "resident", "meter", "account", "konto", "plate", "card", "email", "mail", "phone", "mobile", "tlf",
    "telefon", "mobil", "imei", "mac", "address", "adresse",
}  # fmt: skip
FREE_TEXT_WORDS = {
    "name", "navn", "surname", "efternavn", "fornavn", "remark", "remarks", "note", "notes", "comment", "comments",
    "bemaerkning", "kommentar", "beskrivelse", "description", "text", "tekst", "message", "besked",
}  # fmt: skip
ROW_NUMBER = re.compile(r"_?id|ogc_fid|fid|gid|objectid|index|row(_?(id|nr|number))?", re.IGNORECASE)
LONG_TEXT = 60


def snake_name(source: str) -> str:
    """A name that the lake takes, out of a provider's: ASCII, lower case, no unit in brackets."""
    plain = UNIT_IN_HEADER.sub("", source)
    parted = re.sub(r"([a-zæøå0-9])([A-ZÆØÅ])|([A-ZÆØÅ])(?=[A-ZÆØÅ][a-zæøå])", r"\1\3_\2", plain)
    letters = unicodedata.normalize("NFKD", parted.lower().translate(LETTERS))
    name = re.sub(r"[^a-z0-9]+", "_", letters.encode("ascii", "ignore").decode()).strip("_")
    if not re.match(r"[a-z]", name):
        name = f"column_{name}".rstrip("_")
    if name in RESERVED or name.startswith("exchange_"):
        name = f"source_{name}"
    return name[:56].rstrip("_")


def snake_names(sources: Iterable[str]) -> list[str]:
    """Names for all columns, none twice."""
    names: list[str] = []
    for source in sources:
        base = name = snake_name(source)
        number = 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def words(source: str) -> set[str]:
    return set(snake_name(source).split("_"))


def unit_of(source: str) -> tuple[str, str]:
    """The unit of a number, and why; ``1`` where the name has none."""
    stated = UNIT_IN_HEADER.search(source)
    if stated and stated[1].lower() not in ("undefined", "-", "none"):
        return stated[1].strip(), "it stands in the header"
    parts = snake_name(source).split("_")
    if len(parts) > 1 and (parts[-2:] == ["km", "h"] or "_".join(parts[-2:]) == "m_s"):
        return "/".join(parts[-2:]), "the name ends so"
    last = parts[-1]
    # A single letter is a unit behind another word only.
    if last in UNITS and (len(parts) > 1 or len(last) > 2):
        return UNITS[last], f"the name ends in {last}"
    return "1", "the name has no unit; say what it counts"


def is_row_number(source: str) -> bool:
    """Whether a name is one that software gives to the rows of a table: no one outside knows a thing by it."""
    return ROW_NUMBER.fullmatch(source.strip()) is not None


def is_identifier(source: str) -> bool:
    """Whether a column may tell one person, household, device or thing from another."""
    found = words(source)
    return bool(found & IDENTIFIER_WORDS) or any(word.endswith("id") and len(word) > 4 for word in found)


def names_a_thing(source: str) -> bool:
    """Whether a column's name says that it tells things apart: an id, a number, a code, or what is measured at."""
    marks = {"nr", "no", "number", "nummer", "code", "kode", "station", "sensor", "area", "zone", "type", "kommune"}
    return is_identifier(source) or bool(words(source) & marks)


def privacy_of(source: str, *, identified: bool, time: bool, number: bool, length: float) -> tuple[str, str]:
    """The privacy class of a column, rather too strict than too lax, and why.

    ``identified``: the rows have an identifier. ``length``: characters of a value, on average.
    """
    found = words(source)
    if is_identifier(source) and not (time or is_row_number(source)):
        return "identifier", "the name is one of a person, a household or a device; public if it is of a thing"
    if (found & FREE_TEXT_WORDS or length > LONG_TEXT) and not (time or number):
        return "free_text", "text like this can hold anything; public if it is only of things"
    if identified and number and not is_row_number(source):
        return "sensitive", "a number beside an identifier; public if the identifier is of a thing"
    if identified:
        return "quasi_identifier", "it stands beside an identifier; public if that is of a thing"
    return "public", "nothing in the sample's names points to persons"
