"""XML into ``delivered``: a row for each element at a declared path, with what stands around it. Memory is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa
from lxml import etree

from lakehouse.contracts.forms import XmlForm, xml_steps
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import refuse_foreign_records
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier

BATCH = 10_000
# By the parser's names of what stops it: what it may mean, and what to do.
PROBLEMS = {
    "ERR_UNSUPPORTED_ENCODING": (
        "its first line names an encoding that is none", "Save it as UTF-8, and let the first line say so."
    ),
    "ERR_UNDECLARED_ENTITY": (
        "XML has no names of letters but amp, lt, gt, quot and apos",
        "Write the letter itself, or its number, as &#160; for &nbsp;.",
    ),
    "ERR_DOCUMENT_END": (
        "a document has one outermost element", "Put all within one, or deliver a file for each, and nothing behind it."
    ),
    "ERR_RESERVED_XML_NAME": (
        "something stands before its first line", "Let the document begin with <?xml, without a blank before it."
    ),
    "ERR_RESOURCE_LIMIT": (
        "a text may have 10 MB, and elements may stand 256 deep in one another",
        "Deliver it with shorter texts, or leave those out that are no values.",
    ),
}  # fmt: skip
CUT_OFF = "it may have been cut off", "Deliver the whole file anew."
Steps = tuple[str, ...]
Row = list[str | int | None]


def read_xml(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: XmlForm, contract: Contract) -> list[str]:
    """A row's line is that of its element's start tag, its order that in the document. Returns no name: only declared
    paths are looked for.

    Raises :class:`DeliveryRefused` where the document is broken or declares a document type, holds no such element,
    or nowhere a value that is required.
    """
    names = ["exchange_line", "exchange_ordinal", *(column.name for column in contract.columns)]
    types = [pa.int64(), pa.int64(), *([pa.string()] * len(contract.columns))]
    columns = ", ".join(f"{identifier(name)} VARCHAR" for name in names[2:])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE delivered_rows (exchange_line BIGINT, exchange_ordinal BIGINT, {columns})"
    )
    rows = _Document(file, form, contract).rows()
    try:
        while batch := list(islice(rows, BATCH)):
            arrays = [pa.array(values, type_) for values, type_ in zip(zip(*batch, strict=True), types, strict=True)]
            connection.register("xml_rows", pa.table(arrays, names))
            connection.execute("INSERT INTO delivered_rows FROM xml_rows")
            connection.unregister("xml_rows")
    except _NotXml as error:
        words, advice = PROBLEMS.get(error.kind, CUT_OFF)
        detail = "" if contract.private else f": {error.words}"
        raise DeliveryRefused(
            "not_xml", f"{file.name} is not well-formed XML{detail}; {words}.", advice, line=error.line
        ) from None
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    refuse_foreign_records(connection, contract, [])
    return []


class _NotXml(Exception):
    """Where the parser gave up, and why: ``kind`` is its name for it."""

    def __init__(self, kind: str, line: int | None, words: str) -> None:
        self.kind = kind
        self.line = line
        self.words = words
        super().__init__(words)


class _Document:
    """One pass over a document. A record is dropped once it is read, and so is what no column can ask for again."""

    def __init__(self, file: PlainFile, form: XmlForm, contract: Contract) -> None:
        self._file = file
        self._form = form
        self._record = xml_steps(form.records, form.namespaces)
        paths = [column.parse.path or column.source for column in contract.columns]
        # A path from the root is the newest such value, kept as text; all others are asked of the record.
        self._from_root = [xml_steps(path, form.namespaces) if path.startswith("/") else None for path in paths]
        self._from_record = [
            None if path.startswith("/") else etree.XPath(path, namespaces=form.namespaces, smart_strings=_climbs(path))
            for path in paths
        ]
        self._climb = max(path.count("..") for path in paths)
        self._watched = {steps[:-1] if steps[-1].startswith("@") else steps for steps in self._from_root if steps}
        # An element that could hold a value and does not ends the one before.
        self._holders: dict[Steps, list[Steps]] = {}
        for steps in filter(None, self._from_root):
            self._holders.setdefault(steps[:-1], []).append(steps)
        self._newest: dict[Steps, str | None] = {}
        self._since_record: dict[Steps, str | None] = {}

    def rows(self) -> Iterator[Row]:
        depth, path, found = len(self._record), Steps(), 0
        for event, element in _events(self._file.path):
            if event == "start":
                path = (*path, element.tag)
                if len(path) == 1:
                    self._refuse_document_type(element)
                for steps in self._holders.get(path, ()):
                    self._newest.pop(steps, None)
                if path in self._watched:
                    self._note_attributes(path, element)
                continue
            if path == self._record:
                found += 1
                self._since_record.clear()
                yield [_line(element), found, *self._values(element)]
            elif path in self._watched:
                self._note(path, element.text, element)
            inside = path[:depth] == self._record and len(path) > depth
            within_reach = len(path) > depth - self._climb and path != self._record[: len(path)]
            parent = element.getparent()
            if parent is not None and not inside and not within_reach:
                parent.remove(element)
            path = path[:-1]
        if not found:
            raise DeliveryRefused(
                "no_records",
                f"There is no element at {self._form.records!r} in {self._file.name}.",
                "Deliver a document of the form that the contract states.",
            )

    def _values(self, record: etree._Element) -> Iterator[str | None]:
        line = [record, *record.iterancestors()] if self._climb else []
        for steps, ask in zip(self._from_root, self._from_record, strict=True):
            if steps is not None:
                yield self._newest.get(steps)
            elif ask is not None:
                yield _text(ask(record), line if _climbs(ask.path) else None)

    def _note_attributes(self, path: tuple[str, ...], element: etree._Element) -> None:
        for name, value in element.attrib.items():
            self._note((*path, "@" + str(name)), str(value), element)

    def _note(self, steps: tuple[str, ...], value: str | None, element: etree._Element) -> None:
        if steps not in self._from_root:
            return
        if self._since_record.get(steps, value) != value:
            place = "/".join(re.sub("{.*}", "", step) for step in steps)
            raise DeliveryRefused(
                "ambiguous_path",
                f"{self._file.name} has two values at {place!r} before a "
                f"record at {self._form.records!r}: which one is the record's cannot be told.",
                "Let each stand before its own records, or ask for the contract to be changed.",
                line=_line(element),
            )
        self._newest[steps] = value
        self._since_record[steps] = value

    def _refuse_document_type(self, root: etree._Element) -> None:
        if root.getroottree().docinfo.internalDTD is not None:
            raise DeliveryRefused(
                "document_type",
                f"{self._file.name} declares a document type (<!DOCTYPE …>), which may name entities and other files.",
                "Deliver it without that line; entities are not read.",
            )


def _events(path: Path) -> Iterator[tuple[str, etree._Element]]:
    """Raises :class:`_NotXml`."""
    with path.open("rb") as source:
        document = etree.iterparse(
            source,
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            yield from document
        except etree.XMLSyntaxError as error:
            # Of some faults the error itself says only that there is no document.
            cause = document.error_log.last_error
            kind, line, words = (cause.type_name, cause.line, cause.message) if cause else ("", error.lineno, error.msg)
            raise _NotXml(kind, line or None, str(words).strip()) from None


def _line(element: etree._Element) -> int | None:
    # The library's stubs leave its type open.
    return cast("int | None", element.sourceline)


def _climbs(path: str) -> bool:
    return ".." in path


def _text(found: object, line: list[etree._Element] | None) -> str | None:
    """The text of the first element that a path leads to, or the first attribute.

    ``line``, for a path that climbs: the record and all that it stands in. The parser is ahead by a few thousand
    bytes: what stands behind the record may be there or not, and never counts.
    """
    for node in found if isinstance(found, list) else ():
        element = node if isinstance(node, etree._Element) else None
        if line is None or _is_before(node.getparent() if element is None else element, line):
            return str(node) if element is None else "".join(map(str, element.itertext()))
    return None


def _is_before(element: etree._Element, line: list[etree._Element]) -> bool:
    """Whether an element stands round the record, in it or before it."""
    branch: etree._Element | None = element
    while branch is not None and branch not in line:
        parent = branch.getparent()
        if parent in line[1:]:
            return branch in line[line.index(parent) - 1].itersiblings(preceding=True)
        branch = parent
    return branch is not None
