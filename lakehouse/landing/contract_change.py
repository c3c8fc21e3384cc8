"""A drafted change of a contract: a diff of its file for an engineer to judge, never applied by itself."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from lakehouse.contracts.document import YamlDocument
from lakehouse.contracts.load import SUFFIX
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.guess_meaning import snake_names
from lakehouse.landing.guess_types import Guess


def draft_change(
    contract: Contract,
    contracts: Path,
    *,
    renamed: Mapping[str, str],
    retyped: Mapping[str, Guess],
    added: list[Guess],
) -> str:
    """A unified diff of the contract's file. ``renamed`` and ``retyped`` go by the contract's own column names.

    Empty where the file is not there. Of a new column the privacy class is left to a person: a contract without
    one is not valid.
    """
    path = contracts / contract.provider / f"{contract.dataset}{SUFFIX}"
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8")
    document, lines = YamlDocument(text), text.splitlines()
    edits: list[tuple[int, int, list[str]]] = [_version(contract, document, lines)]
    for index, column in enumerate(contract.columns):
        place = ("schema", 0, "properties", index)
        if column.name in renamed:
            edits.append(
                _set(document, lines, place, "physicalName", json.dumps(renamed[column.name], ensure_ascii=False))
            )
        if column.name in retyped:
            guess = retyped[column.name]
            edits.append(_set(document, lines, place, "logicalType", guess.logical))
            if guess.physical:
                edits.append(_set(document, lines, place, "physicalType", f'"{guess.physical}"'))
    edits.append(_append(contract, document, lines, added))
    changed = list(lines)
    for start, stop, new in sorted(edits, key=lambda edit: edit[0], reverse=True):
        changed[start:stop] = new
    shown = f"contracts/{contract.provider}/{path.name}"
    return "\n".join(difflib.unified_diff(lines, changed, f"a/{shown}", f"b/{shown}", lineterm="", n=2)) + "\n"


def _version(contract: Contract, document: YamlDocument, lines: list[str]) -> tuple[int, int, list[str]]:
    major, minor, _ = contract.version.split(".")
    at = document.line_of(("version",)) - 1
    return at, at + 1, [lines[at].replace(contract.version, f"{major}.{int(minor) + 1}.0")]


def _set(
    document: YamlDocument, lines: list[str], place: tuple[str | int, ...], key: str, value: str
) -> tuple[int, int, list[str]]:
    """The edit that gives a key of a column this value, below its name where the key is not there yet."""
    name = document.line_of((*place, "name")) - 1
    at = document.line_of((*place, key)) - 1
    found = re.match(rf"^(\s*(?:- )?{key}:).*$", lines[at])
    if found:
        return at, at + 1, [f"{found[1]} {value}"]
    indent = " " * (len(lines[name]) - len(lines[name].lstrip(" -")))
    return name + 1, name + 1, [f"{indent}{key}: {value}"]


def _append(
    contract: Contract, document: YamlDocument, lines: list[str], added: list[Guess]
) -> tuple[int, int, list[str]]:
    """New columns, before what follows the last one."""
    last = document.line_of(("schema", 0, "properties", len(contract.columns) - 1, "name")) - 1
    dash = len(lines[last]) - len(lines[last].lstrip())
    end = last + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > dash):
        end += 1
    new: list[str] = []
    for name, guess in zip(snake_names(guess.found.source for guess in added), added, strict=True):
        new.append(f"{' ' * dash}- name: {name}")
        entries = [
            f"physicalName: {json.dumps(guess.found.source, ensure_ascii=False)}",
            f"logicalType: {guess.logical}",
        ]
        if guess.physical:
            entries.append(f'physicalType: "{guess.physical}"')
        entries += ["classification: # a person says which", "description: # what it is, and its unit"]
        new += [f"{' ' * dash}  {entry}" for entry in entries]
    return end, end, new
