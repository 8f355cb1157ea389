"""Verbs: what to do about the difference between what is and what should be. Pure functions, one module per noun."""
