"""Attacks on what is published. Each is a module with one function, and says how far it got.

Those on cells read the tables of :func:`lakehouse.privacy.membership.read_membership`, after
:func:`lakehouse.privacy.audit.prepare`.
"""
