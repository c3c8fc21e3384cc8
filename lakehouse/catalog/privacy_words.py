"""What was done so that a mart tells nothing of a person, and what it cost, in words for readers."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from lakehouse.contracts.policy import Policy
from lakehouse.privacy.words import in_words
from lakehouse.release.manifest import Manifest

_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)


def privacy_words(manifest: Manifest) -> str:
    """A few sentences about the policy under which a release was published, and what it spent."""
    stated = {name: value for name, value in manifest.privacy.items() if name != "spent"}
    try:
        said = in_words(_POLICY.validate_python(stated))
    except ValidationError:
        # An old release's, of a form that policies no longer have.
        said = f"Published under a privacy policy of kind {stated.get('kind')!r}; its manifest has all of it."
    return f"{said} {spending_words(manifest)}".strip()


def spending_words(manifest: Manifest) -> str:
    """What the release spends of its population's privacy budget; empty for a mart without noise."""
    spent = manifest.privacy.get("spent")
    if not spent:
        return ""
    budget, policy, grain = manifest.privacy["budget"], manifest.privacy, manifest.partition["grain"]
    return (
        f"Its {len(spent['partitions'])} {grain}s together spend rho {spent['rho']} (epsilon {spent['epsilon']} at "
        f"delta {spent['delta']}) of the budget of {policy['population']}: at most {budget['year_rho']} for the "
        f"{grain}s of a year and {budget['lifetime_rho']} for ever."
    )
