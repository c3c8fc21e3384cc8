"""Attacks on what is published. Each is a module with one function, and says how far it got."""
