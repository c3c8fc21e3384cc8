"""The receipt: what came of each row of a delivery and what the provider can do, as JSON and as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import duckdb
from jinja2 import Environment, PackageLoader, StrictUndefined

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.refusal import DeliveryRefused

MASK = "(masked)"
# The status of a delivery of which rows were taken.
TAKEN = ("accepted", "partly_accepted")
ADVICE = {
    "missing_value": "Fill the column in, or leave the row out.",
    "malformed_row": "Check delimiters and quotes on this line; every row has the header's number of columns.",
    "time_does_not_exist": "The clock skips this hour in spring. Send UTC, or an offset with each time.",
    "time_ambiguous": "The clock has this hour twice in autumn. Send UTC, or an offset with each time.",
    "differs_from_earlier": "This dataset takes no corrections by delivery. Ask the exchange for a restatement.",
    "wrong_encoding": "Save the file in the encoding that the contract states.",
    "not_in_list": "Use one of the listed values, or ask for the contract to be widened.",
    "below_minimum": "Check the value and its unit.",
    "above_maximum": "Check the value and its unit.",
    "personal_data": "Take it out, and deliver the row again. Is it meant to be there? Then tell the exchange first.",
    "mangled_by_excel": "Export from the source anew without opening the file in Excel, or import the column as text.",
    "late_delivery": "See what held the delivery up; if the rhythm has changed, ask for the contract to say so.",
    "stale_data": "See whether the newest rows are missing; if the delay is to stay, ask for the contract to say so.",
    "unusual_volume": "Check that the file is the whole delivery, and nothing else.",
    "null_share_rose": "Check whether a source of this column failed, or the column was renamed.",
    "distinct_share_changed": "Check whether rows are repeated, or ids were made anew.",
    "distribution_drifted": "Check the unit and the source of this column.",
}
# Of malformed rows of other forms than csv, by words in what is wrong with them.
MALFORMED_ADVICE = {
    "no JSON object": "Check this line; each holds one JSON object, whole, and nothing else.",
    "no list at": "Check this record; the list of its rows is empty where it has none, and neither null nor left out.",
    "characters, not": "Check this line; its columns stand at fixed places, filled up with blanks.",
}
WARNING_ADVICE = "The rows were taken. Check them, and deliver those that are wrong again once they are corrected."
DEFAULT_ADVICE = "Correct the value and deliver the row again; only corrected rows are needed."
SHOWN_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who delivered what, as the receipt says it."""

    provider: str
    dataset: str
    contract_version: str
    simulated: bool = False

    @classmethod
    def of(cls, contract: Contract) -> Sender:
        return cls(
            provider=contract.provider,
            dataset=contract.dataset,
            contract_version=contract.version,
            simulated=contract.exchange.simulated,
        )


def summarise_faults(
    connection: duckdb.DuckDBPyConnection, contract: Contract, *, warnings: bool
) -> list[dict[str, Any]]:
    """One entry for each rule and column, the most frequent first, with the first row it struck.

    A value of a private column is masked, and so is the text of a malformed row of a private dataset.
    """
    rows = connection.execute(
        f"""
        SELECT rule, column_name, rows, first.line, first.member, first.value, first.expected FROM (
            SELECT rule, column_name, count(*) AS rows, arg_min(
                {{line: line, member: member, value: value, expected: expected}}, (part, line, ordinal)
            ) AS first
            FROM faults WHERE warning = {warnings} GROUP BY rule, column_name
        ) ORDER BY rows DESC, rule, column_name
        """
    ).fetchall()
    private = {column.name for column in contract.columns if column.classification.private}
    summary = []
    for rule, column, count, line, member, value, expected in rows:
        masked = column in private or (column is None and contract.private)
        # Postgres holds no text with a NUL in it.
        shown = value and value.replace("\0", "\N{SYMBOL FOR NULL}")
        shown = shown if shown is None or len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
        summary.append(
            {
                "rule": rule,
                "rows": count,
                "first_line": line,
                "column": column,
                "source_column": contract.column(column).source if column else None,
                "member": member,
                "value": MASK if masked and value is not None else shown,
                "expected": expected,
                "advice": _advice(rule, expected, warnings),
            }
        )
    return summary


def _advice(rule: str, expected: str, warning: bool) -> str:
    if rule == "malformed_row":
        for words, advice in MALFORMED_ADVICE.items():
            if words in expected:
                return advice
    return ADVICE.get(rule, WARNING_ADVICE if warning else DEFAULT_ADVICE)


def column_entry(rule: str, source: str, rows: int, expected: str, advice: str) -> dict[str, Any]:
    """An entry about a column of the file as a whole."""
    return {
        "rule": rule,
        "rows": rows,
        "first_line": 1,
        "column": None,
        "source_column": source,
        "member": None,
        "value": None,
        "expected": expected,
        "advice": advice,
    }


def refusal_entry(refusal: DeliveryRefused, rows: int) -> dict[str, Any]:
    return {
        "rule": refusal.rule,
        "rows": rows,
        "first_line": refusal.line,
        "column": None,
        "source_column": None,
        "member": refusal.member,
        "value": None,
        "expected": refusal.problem,
        "advice": refusal.advice,
    }


def next_step(refused: int, warnings: list[dict[str, Any]]) -> str:
    """What the provider is to do about a delivery that was accepted, all but so many rows."""
    if refused:
        return "Deliver the refused rows again once they are corrected; the accepted ones need not be sent again."
    return "Nothing has to be sent again; see what is worth a look." if warnings else "Nothing is to be done."


def build_receipt(
    *,
    sender: Sender,
    delivery: dict[str, Any],
    status: str,
    delivered: int = 0,
    accepted: int = 0,
    refused: int = 0,
    duplicates: int = 0,
    corrections: int = 0,
    withdrawn: int = 0,
    errors: list[dict[str, Any]] | None = None,
    warnings: list[dict[str, Any]] | None = None,
    checks: list[dict[str, Any]] | None = None,
    partitions: list[str] | None = None,
    columns: list[str] | None = None,
    levels: dict[str, dict[str, float]] | None = None,
    contract_change: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    batch: str | None = None,
    message: str,
    next_step: str,
) -> dict[str, Any]:
    """The receipt as data. Raises ``AssertionError`` if the rows do not add up: no such receipt may leave.

    ``batch``: what the clean files are named after that it shares with others.
    """
    if delivered != accepted + refused + duplicates:
        raise AssertionError(
            f"receipt of {delivery['delivery']}: {delivered} delivered is not "
            f"{accepted} accepted + {refused} refused + {duplicates} duplicates"
        )
    received: datetime = delivery["received_at"]
    touched = partitions or []
    return {
        "provider": sender.provider,
        "dataset": sender.dataset,
        "delivery": delivery["delivery"],
        "file": delivery["file"],
        "received_at": received.isoformat(),
        "sha256": delivery["sha256"],
        "bytes": delivery["bytes"],
        "contract_version": sender.contract_version,
        "simulated": sender.simulated,
        "status": status,
        "delivered": delivered,
        "accepted": accepted,
        "refused": refused,
        "duplicates": duplicates,
        "corrections": corrections,
        "withdrawn": withdrawn,
        "errors": errors or [],
        "warnings": warnings or [],
        "checks": checks or [],
        "partitions": {
            "count": len(touched),
            "first": touched[0] if touched else None,
            "last": touched[-1] if touched else None,
        },
        "columns": columns or [],
        "levels": levels or {},
        "contract_change": contract_change,
        "replayed_at": None,
        "before": None,
        "released_from_quarantine": 0,
        "generation": 0,
        "batch": batch,
        "profile": profile,
        "message": message,
        "next_step": next_step,
    }


def receipt_json(receipt: dict[str, Any]) -> bytes:
    return json.dumps(receipt, indent=1, ensure_ascii=False).encode()


def receipt_html(receipt: dict[str, Any], *, title: str) -> bytes:
    return render("receipt.html", receipt=receipt, title=title)


def render(template: str, **values: Any) -> bytes:
    """One of the pages of this room; what is missing among the values is an error."""
    return _environment().get_template(template).render(**values).encode()


def prepare_pages() -> None:
    """Makes the page ready, which takes as long as loading a small delivery: best while something else is read."""
    _environment().get_template("receipt.html")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lakehouse.landing"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment
