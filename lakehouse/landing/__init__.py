"""Intake: seal the bytes, parse by contract, type, quarantine, write clean partitions and the receipt."""
