"""The expectations a suite may use: how each is judged on a table larger than memory, and how it reads in
words.

`rows`: each row is judged by itself, so counts of any batches add up. `table`: a property of the whole table;
DuckDB first reduces the table to a small frame on which the expectation gives the same verdict (see
`reductions`). `schema`: a property of the columns alone; judged on an empty frame of each distinct schema.

Great Expectations has more of them (z-scores, quantiles, ordering, …). One that fits none of the three would
give another verdict for another batch size, and is therefore refused when the suite is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Judged = Literal["rows", "table", "schema"]
Arguments = Mapping[str, Any]

SHOWN_MEMBERS = 12


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How an expectation is judged, and the clause that follows "Expected: "."""

    judged: Judged
    says: Callable[[Arguments], str]


def listed(values: Any) -> str:
    """Some members in words: `a, b, c and 4 more`."""
    members = [str(value) for value in values]
    shown = ", ".join(members[:SHOWN_MEMBERS])
    left = len(members) - SHOWN_MEMBERS
    return f"{shown} and {left} more" if left > 0 else shown


def _bounds(arguments: Arguments) -> str:
    least, most = arguments.get("min_value"), arguments.get("max_value")
    parts = []
    if least is not None:
        parts.append(f"{'more than' if arguments.get('strict_min') else 'at least'} {least}")
    if most is not None:
        parts.append(f"{'less than' if arguments.get('strict_max') else 'at most'} {most}")
    return " and ".join(parts)


def _column(clause: str) -> Callable[[Arguments], str]:
    return lambda arguments: f"{arguments['column']} {clause}"


def _bounded(clause: str) -> Callable[[Arguments], str]:
    return lambda arguments: f"{clause.format(column=arguments.get('column'))} {_bounds(arguments)}"


def _member(clause: str, key: str) -> Callable[[Arguments], str]:
    return lambda arguments: f"{arguments['column']} {clause} {listed(arguments[key])}"


def _greater(arguments: Arguments) -> str:
    word = "at least" if arguments.get("or_equal") else "more than"
    return f"{arguments['column_A']} is {word} {arguments['column_B']}"


def _on_grid(arguments: Arguments) -> str:
    minutes = arguments.get("minutes", 60)
    step = "the full hour" if minutes == 60 else f"a step of {minutes} minutes"
    return f"{arguments['column']} is on {step}"


def _set_of_columns(arguments: Arguments) -> str:
    word = "exactly" if arguments.get("exact_match", True) else "among others"
    return f"the columns are {word} {listed(arguments['column_set'])}, in any order"


_BY_KIND: dict[Judged, dict[str, Callable[[Arguments], str]]] = {
    "rows": {
        "expect_column_values_to_not_be_null": _column("is never empty"),
        "expect_column_values_to_be_null": _column("is always empty"),
        "expect_column_values_to_be_between": _bounded("{column} is"),
        "expect_column_values_to_be_in_set": _member("is one of", "value_set"),
        "expect_column_values_to_not_be_in_set": _member("is none of", "value_set"),
        "expect_column_values_to_match_regex": lambda a: f"{a['column']} has the form {a['regex']}",
        "expect_column_values_to_not_match_regex": lambda a: f"{a['column']} never has the form {a['regex']}",
        "expect_column_value_lengths_to_be_between": _bounded("the length of {column} is"),
        "expect_column_value_lengths_to_equal": lambda a: f"the length of {a['column']} is {a['value']}",
        "expect_column_pair_values_a_to_be_greater_than_b": _greater,
        "expect_column_pair_values_to_be_equal": lambda a: f"{a['column_A']} equals {a['column_B']}",
        "expect_multicolumn_sum_to_equal": lambda a: f"{' + '.join(a['column_list'])} = {a['sum_total']}",
        "expect_cells_to_hold_at_least_k_units": lambda a: f"{a['column']} is known and at least {a['k']}",
        "expect_timestamps_on_grid": _on_grid,
    },
    "table": {
        "expect_table_row_count_to_be_between": _bounded("the number of rows is"),
        "expect_table_row_count_to_equal": lambda a: f"the number of rows is {a['value']}",
        "expect_column_min_to_be_between": _bounded("the smallest {column} is"),
        "expect_column_max_to_be_between": _bounded("the largest {column} is"),
        "expect_column_mean_to_be_between": _bounded("the mean of {column} is"),
        "expect_column_median_to_be_between": _bounded("the median of {column} is"),
        "expect_column_sum_to_be_between": _bounded("the sum of {column} is"),
        "expect_column_unique_value_count_to_be_between": _bounded("the number of different {column} is"),
        "expect_column_distinct_values_to_be_in_set": _member("takes no value but", "value_set"),
        "expect_column_distinct_values_to_contain_set": _member("takes each of", "value_set"),
        "expect_column_distinct_values_to_equal_set": _member("takes exactly the values", "value_set"),
        "expect_column_values_to_be_unique": _column("never repeats"),
        "expect_compound_columns_to_be_unique": lambda a: f"no two rows share {' + '.join(a['column_list'])}",
    },
    "schema": {
        "expect_column_to_exist": lambda a: f"there is a column {a['column']}",
        "expect_table_column_count_to_equal": lambda a: f"there are {a['value']} columns",
        "expect_table_columns_to_match_set": _set_of_columns,
        "expect_table_columns_to_match_ordered_list": lambda a: f"the columns are {listed(a['column_list'])}",
    },
}

EXPECTATIONS: dict[str, Expected] = {
    name: Expected(judged=judged, says=says) for judged, entries in _BY_KIND.items() for name, says in entries.items()
}


def condition_columns(condition: Any) -> list[str]:
    """The columns that a `row_condition` (Great Expectations' dict form, nested with and/or) names."""
    if not isinstance(condition, Mapping):
        return []
    named = condition.get("column")
    own = [named["name"]] if isinstance(named, Mapping) and isinstance(named.get("name"), str) else []
    return own + [name for part in condition.get("conditions", []) for name in condition_columns(part)]


def _condition_in_words(condition: Arguments) -> str:
    if "conditions" in condition:
        return f" {condition['type']} ".join(_condition_in_words(part) for part in condition["conditions"])
    if condition.get("type") == "nullity":
        return f"{condition['column']['name']} is {'' if condition['is_null'] else 'not '}empty"
    return f"{condition['column']['name']} {condition['operator']} {condition['parameter']}"


def named_columns(arguments: Arguments) -> list[str]:
    """Every column that the arguments of an expectation name, in their order, each once."""
    single = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    several = [*arguments.get("column_list", []), *condition_columns(arguments.get("row_condition"))]
    return list(dict.fromkeys([*single, *several]))


def in_words(*, expectation: str, arguments: Arguments) -> str:
    """What the expectation asks for, as a clause: `use_m3 is at least 0, in at least 99 % of rows`."""
    clause = EXPECTATIONS[expectation].says(arguments)
    if (condition := arguments.get("row_condition")) is not None:
        clause += f", where {_condition_in_words(condition)}"
    if (mostly := arguments.get("mostly", 1)) != 1:
        clause += f", in at least {float(mostly) * 100:g} % of rows"
    return clause
