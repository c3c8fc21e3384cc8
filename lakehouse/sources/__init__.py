"""Connectors: one a protocol, each yielding a source's answers verbatim for a data interval."""
