"""Faults of what a contract says of its files: the forms, and the paths by which columns are found in them."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import translate

from lxml import etree

from lakehouse.contracts.forms import CsvForm, FileForm, FixedWidthForm, Unpivot, XmlForm, xml_steps
from lakehouse.contracts.odcs import Column, Contract

Place = tuple[str | int, ...]


def form_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    """(place, problem) of each fault."""
    delivery = contract.exchange.delivery
    formats = Counter(form.format for form in delivery.forms)
    for name, times in formats.items():
        if times > 1:
            yield ("exchange", "delivery", "forms"), f"{name} stands {times} times; one form of each format"
    if {"csv", "fixed_width"} <= set(formats):
        yield ("exchange", "delivery", "forms"), "csv and fixed_width cannot be told apart by a file's content"
    try:
        re.compile(translate(delivery.name_pattern))
    except re.error as error:
        yield ("exchange", "delivery", "name_pattern"), f"is no file pattern: {error}"
    for index, form in enumerate(delivery.forms):
        place: Place = ("exchange", "delivery", "forms", index)
        encoding = getattr(form, "encoding", "utf-8")
        if not _is_encoding(encoding):
            yield (*place, "encoding"), f"{encoding!r} is not a known encoding"
        if isinstance(form, CsvForm | FixedWidthForm) and form.decimal == form.thousands:
            yield (*place, "thousands"), "must differ from the decimal sign"
        if isinstance(form, CsvForm) and form.delimiter == form.quote:
            yield (*place, "delimiter"), "must differ from the quote"
        if isinstance(form, FixedWidthForm) and any(f.start + f.width - 1 > form.width for f in form.fields):
            yield (*place, "line_width"), "a field reaches beyond the line"
        if isinstance(form, XmlForm):
            yield from _xml_faults(contract, form, place)
        elif unpivot := getattr(form, "unpivot", None):
            yield from _unpivot_faults(contract, form, unpivot, place)
    unnested = any(getattr(form, "unnest", None) for form in delivery.forms)
    for index, column in enumerate(contract.columns):
        yield from _path_faults(column, ("schema", 0, "properties", index, "parse"), unnested)


def _xml_faults(contract: Contract, form: XmlForm, place: Place) -> Iterator[tuple[Place, str]]:
    try:
        record = xml_steps(form.records, form.namespaces)
    except ValueError as error:
        yield (*place, "records"), str(error)
        return
    for index, column in enumerate(contract.columns):
        path = column.parse.path or column.source
        try:
            if path.startswith("/"):
                if xml_steps(path, form.namespaces)[: len(record)] == record:
                    raise ValueError("what is in the record is found from the record")
            else:
                # A prefix without a namespace shows only when it is followed.
                if not isinstance(etree.XPath(path, namespaces=form.namespaces)(etree.Element("record")), list):
                    raise ValueError("it leads to no element or attribute")
        except (ValueError, etree.XPathError) as error:
            yield ("schema", 0, "properties", index, "parse", "path"), f"{path!r} is no path into the XML: {error}"
        if "::" in path or "//" in path:
            problem = f"{path!r} has an axis or a //: a column is found by steps down, or up by `..`"
            yield ("schema", 0, "properties", index, "parse", "path"), problem


def _unpivot_faults(contract: Contract, form: FileForm, unpivot: Unpivot, place: Place) -> Iterator[tuple[Place, str]]:
    try:
        if re.compile(unpivot.columns).groups > 1:
            yield (*place, "unpivot", "columns"), "has more than one group; the first is what is kept of a name"
    except re.error as error:
        yield (*place, "unpivot", "columns"), f"is no regular expression: {error}"
    if isinstance(form, CsvForm) and not form.header:
        yield (*place, "unpivot"), "needs a header: without one no column has a name"
    for index, column in enumerate(contract.columns):
        if column.source == unpivot.name and column.parse.ambiguous == "sequence":
            problem = (
                "sequence goes by the order of rows, and these are made of columns, which are found by name and may "
                "stand in any order: state refuse, earlier or later"
            )
            yield ("schema", 0, "properties", index, "parse", "ambiguous"), problem
    sources = {column.source for column in contract.columns}
    for part in ("name", "value"):
        if getattr(unpivot, part) not in sources:
            yield (*place, "unpivot", part), f"{getattr(unpivot, part)!r} is not a column of this contract"


def _path_faults(column: Column, place: Place, unnested: bool) -> Iterator[tuple[Place, str]]:
    if (column.parse.path or "").startswith("^.") and not unnested:
        yield (*place, "path"), "^. is the record that holds an unnested list: no form has `unnest`"


def _is_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False
