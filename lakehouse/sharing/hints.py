"""Predicate hints of Delta Sharing: which files can hold a row that a reader asks for.

They are hints: what is not understood leaves no file out. A predicate is judged on what is known of a file, the
value of its partition and the least and greatest value of its columns.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lakehouse.sharing.kinds import Kind, read_value

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_JSON_OPS = {
    "equal": "=", "lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">=",
}  # fmt: skip
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DEEPEST = 100

_NAME = r"(?:`(?P<quoted>[^`]+)`|(?P<name>[A-Za-z_][A-Za-z0-9_]*))"
_VALUE = r"(?:'(?:[^']|'')*'|[+-]?[0-9.]+|true|false)"
_SQL_COMPARE = re.compile(
    rf"{_NAME}\s*(?P<op><=|>=|<>|!=|==|=|<|>)\s*(?:date\s*|timestamp\s*)?(?P<value>{_VALUE})", re.I
)
_SQL_NULL = re.compile(rf"{_NAME}\s+is\s+(?P<no>not\s+)?null", re.I)
_SQL_IN = re.compile(rf"{_NAME}\s+in\s*\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)", re.I)


class Verdict(NamedTuple):
    """Whether a file can hold a row for which a predicate is true, and one for which it is false. Of a row for which
    it is unknown, as any comparison with null, neither."""

    true: bool
    false: bool


UNKNOWN = Verdict(True, True)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What is known of a column in one file; ``low`` is None where it is not known, ``nulls`` likewise."""

    low: Any
    high: Any
    nulls: int | None
    rows: int


Spans = Mapping[str, Span]
Predicate = Callable[[Spans], Verdict]


def from_json(text: str, kinds: Mapping[str, Kind]) -> Predicate | None:
    """The predicate of ``jsonPredicateHints``, or None where it is not understood."""
    try:
        return _tree(json.loads(text), kinds, 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def from_sql(hints: Sequence[str], kinds: Mapping[str, Kind]) -> list[Predicate]:
    """The predicates of ``predicateHints`` that are understood: comparisons of a column with a value, IN, IS NULL."""
    found = []
    for hint in hints:
        try:
            predicate = _sql(hint.strip(), kinds)
        except (ValueError, KeyError):
            continue
        if predicate is not None:
            found.append(predicate)
    return found


def _tree(node: dict[str, Any], kinds: Mapping[str, Kind], depth: int) -> Predicate:
    if depth > _DEEPEST:
        raise ValueError
    op, children = node["op"], node.get("children", [])
    if op in ("and", "or"):
        parts = [_tree(child, kinds, depth + 1) for child in children]
        if not parts:
            raise ValueError
        return both(parts) if op == "and" else either(parts)
    if op == "not":
        [child] = children
        return negated(_tree(child, kinds, depth + 1))
    if op == "isNull":
        [column] = children
        return is_null(_column(column, kinds))
    if op == "in":
        column, *literals = children
        name = _column(column, kinds)
        return either([compared(name, "=", _literal(item, kinds[name])) for item in literals])
    left, right = children
    if left["op"] == "literal":
        name = _column(right, kinds)
        return compared(name, _MIRRORED[_JSON_OPS[op]], _literal(left, kinds[name]))
    name = _column(left, kinds)
    return compared(name, _JSON_OPS[op], _literal(right, kinds[name]))


def _column(node: dict[str, Any], kinds: Mapping[str, Kind]) -> str:
    if node["op"] != "column":
        raise ValueError
    return _named(node["name"], kinds)


def _literal(node: dict[str, Any], kind: Kind) -> Any:
    if node["op"] != "literal":
        raise ValueError
    return read_value(str(node["value"]), kind)


def _named(name: str, kinds: Mapping[str, Kind]) -> str:
    """Names are taken whatever their case, as the protocol's servers do."""
    return next(known for known in kinds if known.lower() == name.lower()) if name else ""


def _sql(hint: str, kinds: Mapping[str, Kind]) -> Predicate | None:
    try:
        if found := _SQL_COMPARE.fullmatch(hint):
            name = _named(found["quoted"] or found["name"], kinds)
            value, op = read_value(_unquoted(found["value"]), kinds[name]), found["op"]
            if op in ("<>", "!="):
                return negated(compared(name, "=", value))
            return compared(name, "=" if op == "==" else op, value)
        if found := _SQL_IN.fullmatch(hint):
            name = _named(found["quoted"] or found["name"], kinds)
            values = [read_value(_unquoted(text), kinds[name]) for text in re.findall(_VALUE, found["values"], re.I)]
            return either([compared(name, "=", value) for value in values])
        if found := _SQL_NULL.fullmatch(hint):
            judged = is_null(_named(found["quoted"] or found["name"], kinds))
            return negated(judged) if found["no"] else judged
    except StopIteration:
        return None
    return None


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def compared(name: str, op: str, value: Any) -> Predicate:
    holds = _COMPARE[op]

    def judge(spans: Spans) -> Verdict:
        span = spans.get(name)
        if span is None:
            return UNKNOWN
        if span.nulls == span.rows:
            return Verdict(False, False)
        if span.low is None or span.high is None:
            return UNKNOWN
        low, high = span.low, span.high
        if op == "=":
            return Verdict(low <= value <= high, not low == value == high)
        return Verdict(holds(low, value) or holds(high, value), not (holds(low, value) and holds(high, value)))

    return judge


def is_null(name: str) -> Predicate:
    def judge(spans: Spans) -> Verdict:
        span = spans.get(name)
        if span is None or span.nulls is None:
            return UNKNOWN
        return Verdict(span.nulls > 0, span.nulls < span.rows)

    return judge


def negated(predicate: Predicate) -> Predicate:
    def judge(spans: Spans) -> Verdict:
        verdict = predicate(spans)
        return Verdict(verdict.false, verdict.true)

    return judge


def both(parts: Sequence[Predicate]) -> Predicate:
    def judge(spans: Spans) -> Verdict:
        verdicts = [part(spans) for part in parts]
        return Verdict(all(v.true for v in verdicts), any(v.false for v in verdicts))

    return judge


def either(parts: Sequence[Predicate]) -> Predicate:
    def judge(spans: Spans) -> Verdict:
        verdicts = [part(spans) for part in parts]
        return Verdict(any(v.true for v in verdicts), all(v.false for v in verdicts))

    return judge
