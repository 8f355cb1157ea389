"""Evaluation: several models beside each other, measured in one start on one core, as a table and a picture."""
