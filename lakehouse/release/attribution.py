"""Whom a reader of a release has to name, and what the reader may do: words that go with every copy of it."""

from __future__ import annotations

from lakehouse.contracts.licences import LICENCES, Terms
from lakehouse.release.manifest import Manifest

FILE = "ATTRIBUTION.txt"


def attribution_text(manifest: Manifest) -> str:
    """Licence, its demands, and each input dataset with its own licence and attribution."""
    licence = manifest.licence
    lines = [
        f"{manifest.title} ({manifest.mart}, release {manifest.release})",
        "",
        f"Licence: {licence['id']}, {licence['url']}",
        *(f"- {demand}" for demand in demands(licence["id"])),
        "",
        "Made of:",
    ]
    seen = sorted({(one.dataset, one.attribution, one.licence, one.simulated) for one in manifest.inputs})
    for dataset, attribution, terms, simulated in seen:
        lines.append(f"- {attribution} ({dataset}), {terms}{', simulated' if simulated else ''}")
    return "\n".join([*lines, ""])


def demands(licence: str) -> list[str]:
    """What a licence demands of a reader, a sentence each; of one that is not known, to ask."""
    terms = LICENCES.get(licence)
    return ["Ask the exchange what this licence demands."] if terms is None else list(_sentences(terms))


def _sentences(terms: Terms) -> list[str]:
    said = []
    if terms.closed:
        said.append("Use is by agreement with the exchange alone.")
    if terms.attribution:
        said.append("Name every provider below where you publish something made of the data.")
    if terms.share_alike:
        said.append(f"Publish what you make of the data under {' or '.join(sorted(terms.share_alike))}.")
    if not terms.commercial:
        said.append("No commercial use.")
    if not terms.derivatives:
        said.append("Pass it on unchanged only.")
    return said or ["No condition; naming the providers below is welcome."]
