"""The Link header of an answer (RFC 8288)."""

import re

_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,]+\s*(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^\s";,]*))?)*)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s";,]*))', re.IGNORECASE)


def links(header: str) -> dict[str, str]:
    """URLs by their relations, in lower case: one link may have several, and the first of a relation counts."""
    found: dict[str, str] = {}
    for url, parameters in _LINK.findall(header):
        quoted, bare = next(iter(_REL.findall(parameters)), ("", ""))
        for relation in (quoted or bare).lower().split():
            found.setdefault(relation, url.strip())
    return found
