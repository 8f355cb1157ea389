"""Use cases: one function per user intention. Check, move, commit; no cloud calls."""
