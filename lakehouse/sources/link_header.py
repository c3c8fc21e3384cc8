"""The Link header of an answer (RFC 8288)."""

import re

# Some write nothing between two semicolons, or quote with apostrophes.
_VALUE = r""""(?:[^"\\]|\\.)*"|'[^']*'|[^\s";,]*"""
_PARAMETER = rf"\s*;\s*(?:([^\s=;,]+)\s*(?:=\s*({_VALUE}))?)?"
_LINK = re.compile(rf"<([^<>]*)>((?:{_PARAMETER})*)")


def links(header: str) -> dict[str, str]:
    """URLs by their relations, in lower case: one link may have several, and the first of a relation counts."""
    found: dict[str, str] = {}
    for link in _LINK.finditer(header):
        relations = next((value for name, value in re.findall(_PARAMETER, link[2]) if name.lower() == "rel"), "")
        for relation in relations.strip("\"'").lower().split():
            found.setdefault(relation, link[1].strip())
    return found
