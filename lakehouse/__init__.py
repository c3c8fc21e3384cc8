"""The City Data Exchange: contracts in, releases out. Plain Python; imports no Airflow."""

from __future__ import annotations

from typing import Any

__all__ = ["open"]


def open(name: str, **options: Any) -> Any:
    """A release as a DuckDB relation, a Polars LazyFrame or an Arrow dataset: ``open("mart@0003", as_="polars")``.

    See :func:`lakehouse.sharing.opened.open_release`, which takes the same arguments; nothing is imported before.
    """
    from lakehouse.sharing.opened import open_release

    return open_release(name, **options)
