"""Many small text files as one, which costs what one costs to read; each row keeps its file and its line."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from lakehouse.contracts.forms import CsvForm, FileForm, JsonForm, NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.formats import form_of
from lakehouse.landing.local_time import has_local_time
from lakehouse.landing.quick_rows import Rest
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import MARKS
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.landing.unpack import PlainFile

PLAIN_ENCODINGS = frozenset(codecs.lookup(name).name for name in ("utf-8", "ascii", "latin-1", "cp1252"))


@dataclass(kw_only=True)
class Joined:
    """A ``form`` and a ``head`` that all have, and of each file, by its part, the lines behind the head."""

    form: CsvForm | NdjsonForm | JsonForm
    head: bytes
    bodies: dict[int, bytes] = field(default_factory=dict)

    @property
    def skip(self) -> int:
        return 1 if self.head else 0

    def write(self, folder: Path) -> Rest:
        """One file of all, with the line of each of its own in the file that was delivered."""
        path = folder / "joined"
        with path.open("wb") as sink:
            sink.write(self.head)
            sink.writelines(self.bodies.values())
        lines = np.concatenate(
            [
                part * PART_LINES + self.skip + 1 + np.arange(body.count(b"\n"), dtype=np.int64)
                for part, body in self.bodies.items()
            ]
        )
        file = PlainFile(
            path=path,
            name="delivered",
            member=None,
            form=self.form,
            scratch=folder,
            lines=self.skip + len(lines),
            whole=False,
        )
        return Rest(file=file, skip=self.skip, lines=lines, plain=0)


def is_joinable(contract: Contract) -> bool:
    """Whether small files of the dataset may be read as one: a series whose order in the file tells the hour that the
    clock has twice must not go on in the next."""
    in_sequence = any(has_local_time(column) and column.parse.ambiguous == "sequence" for column in contract.columns)
    return not in_sequence and any(_joins(form) for form in contract.exchange.delivery.forms)


def join(contract: Contract, files: Sequence[tuple[int, str, Path]]) -> Joined | None:
    """Joins files, given with their parts and names, as far from the first one on as they are plain text of one form
    and one head. What is not is not wrong: it is read alone."""
    joined: Joined | None = None
    for part, name, path in files:
        found = _taken_apart(path.read_bytes(), name, contract.exchange.delivery.forms)
        if found is None:
            break
        form, head, body = found
        if joined is None:
            joined = Joined(form=form, head=head)
        if (form, head) != (joined.form, joined.head):
            break
        joined.bodies[part] = body
    return joined


def _joins(form: FileForm) -> bool:
    match form:
        case CsvForm():
            plain = form.unpivot is None and form.skip_lines == 0 and form.delimiter.isascii()
        case NdjsonForm() | JsonForm():
            plain = True
        case _:
            return False
    return plain and codecs.lookup(form.encoding).name in PLAIN_ENCODINGS


def _taken_apart(
    data: bytes, name: str, forms: Sequence[FileForm]
) -> tuple[CsvForm | NdjsonForm | JsonForm, bytes, bytes] | None:
    """Form, head and body of a file whose every line is a record, whichever way it is read; a document is one line."""
    try:
        form = form_of(BytesIO(data), name, forms)
    except DeliveryRefused:
        return None
    if not isinstance(form, CsvForm | NdjsonForm | JsonForm) or not _joins(form):
        return None
    if isinstance(form, JsonForm):
        # A line's end is a blank between values, and within one it is no JSON: so is a tab.
        data = data.replace(b"\n", b"\t").replace(b"\r", b"\t").strip()
    data = data.replace(b"\r\n", b"\n")
    if b"\r" in data or b"\0" in data or data.startswith(tuple(MARKS)) or not _is_text(data, form.encoding):
        return None
    if not data.endswith(b"\n"):
        data += b"\n"
    if isinstance(form, NdjsonForm | JsonForm):
        return form, b"", data
    if any(sign and sign.encode() in data for sign in (form.quote, form.escape)):
        return None
    if not form.header:
        return form, b"", data
    head, end, body = data.partition(b"\n")
    return (form, head + end, body) if head.strip() and body.strip() else None


def _is_text(data: bytes, encoding: str) -> bool:
    """Whether the bytes are what they would be in UTF-8."""
    if data.isascii():
        return True
    if codecs.lookup(encoding).name != "utf-8":
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
