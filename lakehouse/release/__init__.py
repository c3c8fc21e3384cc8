"""Candidates, their gate, manifests and the promotion of a candidate to an immutable release."""
