"""Erasure: a person taken out of everything that the exchange holds, with proof."""
