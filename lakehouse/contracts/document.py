"""A YAML document that knows the line of each of its keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import yaml

Place = Iterable[str | int]
TIMESTAMP = "tag:yaml.org,2002:timestamp"


# The C parser is several times faster, and contracts are read whenever Airflow loads a DAG.
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that leaves dates as text: the models type them, and then say where a wrong one stands."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, Any]]]] = {
        first: [resolver for resolver in resolvers if resolver[0] != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class YamlFault(ValueError):
    """A text that is no YAML mapping. ``line`` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        self.problem = problem
        super().__init__(problem)


class YamlDocument(dict[str, Any]):
    """The document's values; ``line_of`` finds where in the text a place stands."""

    def __init__(self, text: str) -> None:
        try:
            node = yaml.compose(text, Loader=Loader)
            values = yaml.load(text, Loader=Loader)  # the loader is a safe one
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise YamlFault(
                mark.line + 1 if mark else 1, f"is not valid YAML: {error.problem or error.context}"
            ) from None
        except (yaml.YAMLError, ValueError) as error:
            raise YamlFault(1, f"is not valid YAML: {str(error).splitlines()[0]}") from None
        except RecursionError:
            raise YamlFault(1, "nests too deep") from None
        if not isinstance(node, yaml.MappingNode):
            raise YamlFault(1, "is not a mapping of keys to values")
        try:
            for line, key in _repeated_keys(node):
                raise YamlFault(line, f"states {key!r} twice")
        except RecursionError:
            raise YamlFault(1, "nests without end: what an anchor marks holds that anchor itself") from None
        super().__init__(values)
        self._node = node

    def line_of(self, place: Place) -> int:
        """The line (from 1) of a place, or of the nearest thing around it that exists."""
        node: yaml.Node = self._node
        line = 0
        for step in place:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line + 1


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line, node.value[step]
    return None


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)
