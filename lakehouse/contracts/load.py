"""Reading contracts: every fault of a file at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from lakehouse.contracts.derive import dag_id
from lakehouse.contracts.document import YamlDocument, YamlFault
from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.forms import FileForm
from lakehouse.contracts.odcs import LIFTED, NAME, Contract, PrivacyClass
from lakehouse.contracts.rules import contract_faults

SUFFIX = ".odcs.yaml"


def _tags(union: Any) -> set[str]:
    """The discriminator's values of a union, which pydantic adds to a path; the file has no such step."""
    members, told_apart_by = get_args(union)
    name = told_apart_by.discriminator
    return {tag for member in get_args(members) for tag in get_args(member.model_fields[name].annotation)}


UNION_TAGS = _tags(FileForm) | _tags(ExtractArguments) | {"open", "aggregate"}


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One fault of one file. ``line`` counts from 1; ``field`` is a dotted path in the file."""

    file: str
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.problem}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ContractError(ValueError):
    """A file that is no valid contract; ``faults`` holds all that was found."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


def read_contract(path: Path, *, root: Path | None = None) -> Contract:
    """Reads and validates one contract.

    Raises :class:`ContractError` with every fault of the file at once. ``root`` shortens the paths named.
    """
    shown = str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
    document = read_yaml(path, shown=shown)
    try:
        contract = Contract.model_validate(document)
    except ValidationError as error:
        raise ContractError(fault_list(error, document, shown)) from None
    problems = [*_place_faults(contract, path), *contract_faults(contract)]
    if problems:
        faults = (
            Fault(file=shown, line=line_of(document, place), field=_dotted(place), problem=problem)
            for place, problem in problems
        )
        raise ContractError(sorted(faults))
    return contract


def _place_faults(contract: Contract, path: Path) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """A contract is found by its place, so the place must agree with what it says of itself."""
    if contract.provider != path.parent.name:
        yield ("tenant",), f"is {contract.provider!r}, but the file lies in folder {path.parent.name!r}"
    if path.name != f"{contract.dataset}{SUFFIX}":
        problem = f"is {contract.dataset!r}: the file must be named {contract.dataset}{SUFFIX}"
        yield ("schema", 0, "name"), problem


def contract_paths(folder: Path) -> list[Path]:
    """All contract files below ``contracts/``, sorted."""
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def contract_keys(folder: Path) -> list[tuple[str, str]]:
    """Provider and dataset of all contracts by their place, sorted; no file is read, so that none has a fault."""
    places = [(path.parent.name, path.name.removesuffix(SUFFIX)) for path in contract_paths(folder)]
    return [place for place in places if all(map(NAME.fullmatch, place))]


def read_contracts(folder: Path) -> dict[str, Contract]:
    """All contracts by ``provider/dataset``. Raises :class:`ContractError` with the faults of all files."""
    contracts, faults = sound_contracts(folder)
    if faults:
        raise ContractError(faults)
    return contracts


def sound_contracts(folder: Path) -> tuple[dict[str, Contract], list[Fault]]:
    """Those without a fault by ``provider/dataset``, and the faults of all others."""
    contracts: dict[str, Contract] = {}
    faults: list[Fault] = []
    for path in contract_paths(folder):
        try:
            contract = read_contract(path, root=folder.parent)
        except ContractError as error:
            faults.extend(error.faults)
        else:
            contracts[contract.key] = contract
    faults.extend(_two_types(folder, contracts))
    faults.extend(_one_name(folder, contracts))
    unsound = {fault.file for fault in faults}
    sound = {key: it for key, it in contracts.items() if f"{folder.name}/{key}{SUFFIX}" not in unsound}
    return sound, faults


def _two_types(folder: Path, contracts: dict[str, Contract]) -> Iterator[Fault]:
    """An id is one id in all of a provider's datasets, and so of one type: what stands for a number is no text."""
    first: dict[tuple[str, str], Contract] = {}
    for contract in contracts.values():
        for number, column in enumerate(contract.columns):
            if column.classification is not PrivacyClass.IDENTIFIER:
                continue
            other = first.setdefault((contract.provider, column.name), contract)
            known = other.column(column.name).logicalType
            if known != column.logicalType:
                path = folder / contract.provider / f"{contract.dataset}{SUFFIX}"
                shown, place = str(path.relative_to(folder.parent)), ("schema", 0, "properties", number, "logicalType")
                yield Fault(
                    file=shown,
                    line=line_of(read_yaml(path, shown=shown), place),
                    field=_dotted(place),
                    problem=f"{column.name!r} is of type {column.logicalType} here and of type {known} in {other.key}: "
                    "an id of a provider has one type",
                )


def _one_name(folder: Path, contracts: dict[str, Contract]) -> Iterator[Fault]:
    """Of two datasets with one name for their DAG one would have none, and its model would read the other's rows."""
    first: dict[str, Contract] = {}
    for contract in contracts.values():
        other = first.setdefault(dag_id(contract), contract)
        if other is not contract:
            path = folder / contract.provider / f"{contract.dataset}{SUFFIX}"
            shown = str(path.relative_to(folder.parent))
            yield Fault(
                file=shown,
                line=line_of(read_yaml(path, shown=shown), ("tenant",)),
                field="tenant",
                problem=f"{contract.key} and {other.key} are both {dag_id(contract)} where one name stands for both "
                "provider and dataset: give the dataset another name",
            )


def read_yaml(path: Path, *, shown: str) -> YamlDocument:
    """A YAML document with the line of each key. Raises :class:`ContractError` on a fault of form."""
    try:
        return YamlDocument(path.read_text(encoding="utf-8"))
    except YamlFault as error:
        fault = Fault(file=shown, line=error.line, field="(file)", problem=error.problem)
    except (OSError, UnicodeDecodeError) as error:
        fault = Fault(file=shown, line=1, field="(file)", problem=f"cannot be read: {error}")
    raise ContractError([fault]) from None


def line_of(document: YamlDocument, place: Iterable[str | int]) -> int:
    """The line (from 1) of a place of the model, or of the nearest thing around it that exists."""
    return document.line_of(_in_file(document, place))


def _in_file(document: Any, place: Iterable[str | int]) -> Iterator[str | int]:
    """Turns a place in the model into one in the file: lifted properties stand under customProperties."""
    node = document
    for step in place:
        custom = node.get("customProperties") if isinstance(node, dict) else None
        if isinstance(custom, list) and isinstance(step, str) and step not in node:
            for index, entry in enumerate(custom):
                if isinstance(entry, dict) and entry.get("property") == step:
                    yield from ("customProperties", index, "value")
                    node = entry.get("value")
                    break
            else:
                yield step
                node = None
            continue
        yield step
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            node = None


def fault_list(
    error: ValidationError, document: YamlDocument, shown: str, *, prefix: tuple[str | int, ...] = ()
) -> list[Fault]:
    """pydantic's errors as faults of the file; ``prefix`` is where the validated part stands in it."""
    faults = []
    entries = error.errors(include_url=False)
    for entry in entries:
        if entry["type"] == "too_short" and any(
            e["loc"][: len(entry["loc"])] == entry["loc"] != e["loc"] for e in entries
        ):
            continue  # its entries are there, and have faults of their own
        place = (*prefix, *(_plain_step(step) for step in entry["loc"] if step not in UNION_TAGS))
        line, field = line_of(document, place), _dotted(place)
        faults.append(Fault(file=shown, line=line, field=field, problem=_plain(entry, place)))
    return sorted(faults)


def _plain_step(step: str | int) -> str | int:
    return step.removeprefix(LIFTED) if isinstance(step, str) else step


def _plain(entry: Any, place: tuple[str | int, ...]) -> str:
    kind, value = entry["type"], entry.get("input")
    last = place[-1] if place else ""
    if kind == "missing" and last == "classification":
        return (
            "is missing: every column states a privacy class "
            "(public, quasi_identifier, identifier, sensitive or free_text)"
        )
    if kind == "missing" and place == ("exchange",):
        return "is missing: add an entry `property: exchange` under customProperties"
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a known key (check the spelling)"
    message = entry["msg"].removeprefix("Value error, ")
    if isinstance(value, str | int | float | bool) and str(value) not in message:
        return f"{message}; found {value!r}"
    return str(message)


def _dotted(place: Iterable[str | int]) -> str:
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") or "(file)"
