"""The formats that files are delivered in, each with what a contract says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

XML_STEP = re.compile(r"@?(?:[\w.-]+:)?[\w.-]+")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unpivot(Strict):
    """A column for each meter or hour becomes a row for each: the header's name in one column, the cell in another.

    ``columns``: pattern of the names of the columns taken, whole; its first group, if it has one, is what is kept
    of the name. ``name`` and ``value``: the columns made, as if the provider had delivered them. All other columns
    stay. An empty cell is a row without a value.
    """

    columns: str
    name: str
    value: str


class CsvForm(Strict):
    """``skip_lines``: lines of preamble before the header (or before the data, without one)."""

    format: Literal["csv"] = "csv"
    delimiter: str = Field(default=",", min_length=1, max_length=4)
    quote: str = Field(default='"', max_length=1)
    escape: str = Field(default='"', max_length=1)
    encoding: str = "utf-8"
    header: bool = True
    skip_lines: int = Field(default=0, ge=0)
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    null_values: tuple[str, ...] = ()
    unpivot: Unpivot | None = None


class WidthField(Strict):
    """``start`` counts characters from 1."""

    name: str
    start: int = Field(ge=1)
    width: int = Field(ge=1)


class FixedWidthForm(Strict):
    """Columns by their place in the line. ``line_width``: of a whole line, where the last field does not end it."""

    format: Literal["fixed_width"] = "fixed_width"
    fields: tuple[WidthField, ...] = Field(min_length=1)
    line_width: int | None = Field(default=None, ge=1)
    encoding: str = "utf-8"
    skip_lines: int = Field(default=0, ge=0)
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    null_values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.line_width or max(field.start + field.width - 1 for field in self.fields)


class JsonForm(Strict):
    """One document. ``records``: dotted path of the list of records; empty when the document is the list.
    ``unnest``: dotted path, in each record, of an inner list whose entries are the rows."""

    format: Literal["json"] = "json"
    records: str = ""
    unnest: str | None = None
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()


class NdjsonForm(Strict):
    """One JSON record a line. ``unnest`` as in :class:`JsonForm`."""

    format: Literal["ndjson"] = "ndjson"
    unnest: str | None = None
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()


class XmlForm(Strict):
    """``records``: the steps from the root to the element that is a row, as ``feed/entry/reading``.
    ``namespaces``: prefixes for that path and for the columns'.

    A column's path is an XPath from the record, which may climb (``../interval/start``), or steps from the root
    (``/feed/entry/meter/@id``): then the newest such value that stands before the record.
    """

    format: Literal["xml"] = "xml"
    records: str = Field(min_length=1)
    namespaces: dict[str, str] = Field(default_factory=dict)
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()


class GeojsonForm(Strict):
    """A FeatureCollection: columns are properties; ``id`` and ``geometry`` are the feature's own."""

    format: Literal["geojson"] = "geojson"
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()


class LayerForm(Strict):
    """One layer of a GeoPackage, or of a zip with a shapefile: columns are fields, ``geometry`` the feature's own.

    ``layer`` by its name, where there are several. ``crs``: that of files which state none, as ``EPSG:25832``.
    """

    format: Literal["geopackage", "shapefile"]
    layer: str | None = None
    crs: str | None = None
    null_values: tuple[str, ...] = ()


class ParquetForm(Strict):
    format: Literal["parquet"] = "parquet"
    null_values: tuple[str, ...] = ()
    unpivot: Unpivot | None = None


class XlsxForm(Strict):
    """``header_row`` counts from 1; the first sheet unless one is named. ``decimal`` is of numbers in text."""

    format: Literal["xlsx"] = "xlsx"
    sheet: str | None = None
    header_row: int = Field(default=1, ge=1)
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()
    unpivot: Unpivot | None = None


FileForm = Annotated[
    CsvForm | FixedWidthForm | JsonForm | NdjsonForm | XmlForm | GeojsonForm | LayerForm | ParquetForm | XlsxForm,
    Field(discriminator="format"),
]


def shares_lines(form: FileForm) -> bool:
    """Whether several rows of a file may stand on one line: these are told apart by their order there."""
    return isinstance(form, XmlForm) or any(getattr(form, name, None) for name in ("unpivot", "unnest"))


def xml_steps(path: str, namespaces: Mapping[str, str]) -> tuple[str, ...]:
    """The steps of a path from the root, as lxml names elements: ``{uri}name``; the last may be an ``@attribute``.

    Raises ``ValueError`` for what is no such path, or has a prefix without a namespace.
    """
    steps = []
    for step in path.strip("/").split("/"):
        if not XML_STEP.fullmatch(step):
            raise ValueError(f"{step!r} is no step of a path from the root, as prefix:name")
        attribute, name = ("@", step[1:]) if step.startswith("@") else ("", step)
        prefix, _, local = name.rpartition(":")
        if prefix and prefix not in namespaces:
            raise ValueError(f"{prefix!r} is not one of the namespaces")
        steps.append(f"{attribute}{{{namespaces[prefix]}}}{local}" if prefix else f"{attribute}{local}")
    return tuple(steps)
