"""Loops: claim, load, decide, act, record. No business rule lives here."""
