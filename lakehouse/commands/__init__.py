"""Verbs of the `exchange` command that have a file of their own, one a topic."""
