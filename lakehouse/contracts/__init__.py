"""Contracts: the only hand-written facts about a source, and what is derived from them."""
