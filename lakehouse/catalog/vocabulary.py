"""Terms of the EU's vocabularies that the catalogue uses, each with its address and label."""

from __future__ import annotations

from dataclasses import dataclass

_EU = "http://publications.europa.eu/resource/authority"


@dataclass(frozen=True)
class Term:
    uri: str
    label: str


THEME_SCHEME = Term(f"{_EU}/data-theme", "EU data themes")
THEMES = {
    code: Term(f"{_EU}/data-theme/{code}", label)
    for code, label in {
        "AGRI": "Agriculture, fisheries, forestry and food",
        "ECON": "Economy and finance",
        "EDUC": "Education, culture and sport",
        "ENER": "Energy",
        "ENVI": "Environment",
        "GOVE": "Government and public sector",
        "HEAL": "Health",
        "JUST": "Justice, legal system and public safety",
        "REGI": "Regions and cities",
        "SOCI": "Population and society",
        "TECH": "Science and technology",
        "TRAN": "Transport",
    }.items()
}
ENGLISH = Term(f"{_EU}/language/ENG", "English")
PUBLIC = Term(f"{_EU}/access-right/PUBLIC", "public")
RESTRICTED = Term(f"{_EU}/access-right/RESTRICTED", "restricted")
PARQUET = Term(f"{_EU}/file-type/PARQUET", "Parquet")
CSV = Term(f"{_EU}/file-type/CSV", "CSV")
JSON = Term(f"{_EU}/file-type/JSON", "JSON")
PARQUET_MEDIA = Term(
    "https://www.iana.org/assignments/media-types/application/vnd.apache.parquet", "application/vnd.apache.parquet"
)
CSV_MEDIA = Term("https://www.iana.org/assignments/media-types/text/csv", "text/csv")
JSON_MEDIA = Term("https://www.iana.org/assignments/media-types/application/json", "application/json")
AVAILABLE = Term(f"{_EU}/planned-availability/AVAILABLE", "available")

# How old the newest data may be, in hours, up to which it is called so.
_FREQUENCIES = (
    (6, "HOURLY"),
    (72, "DAILY"),
    (400, "WEEKLY"),
    (1500, "MONTHLY"),
    (3000, "QUARTERLY"),
    (10000, "ANNUAL"),
)

HIGH_VALUE_LAW = Term(
    "http://data.europa.eu/eli/reg_impl/2023/138/oj", "Commission Implementing Regulation (EU) 2023/138"
)
HIGH_VALUE = {
    name: Term(f"http://data.europa.eu/bna/{code}", label)
    for name, code, label in (
        ("geospatial", "c_ac64a52d", "Geospatial"),
        ("environment", "c_dd313021", "Earth observation and environment"),
        ("meteorological", "c_164e0bf5", "Meteorological"),
        ("statistics", "c_e1da4e07", "Statistics"),
        ("companies", "c_a9135398", "Companies and company ownership"),
        ("mobility", "c_b79e35eb", "Mobility"),
    )
}


def frequency(freshness_hours: int | None) -> Term:
    """How often a mart is renewed, from how old its newest data may be; unknown of a mart that is not built now."""
    code = "UNKNOWN"
    if freshness_hours is not None:
        code = next((name for most, name in _FREQUENCIES if freshness_hours <= most), "IRREG")
    return Term(f"{_EU}/frequency/{code}", code.lower())
