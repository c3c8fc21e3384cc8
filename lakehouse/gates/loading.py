"""Great Expectations, imported late because it takes seconds, and without its telemetry."""

import os
from typing import Any


def implementation_of(expectation: str) -> Any:
    """The class of one of `vocabulary.EXPECTATIONS`, Great Expectations' own or the house's."""
    load_great_expectations()
    from great_expectations.expectations.registry import get_expectation_impl

    return get_expectation_impl(expectation)


def load_great_expectations() -> None:
    """Imports it and registers the house's own expectations. Call before any other import of it."""
    # Read while Great Expectations is imported: later is too late.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import lakehouse.gates.expectations  # noqa: F401  registers
