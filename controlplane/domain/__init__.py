"""Nouns: what exists, which states it may be in, and the arithmetic between them. No I/O, no clock."""
