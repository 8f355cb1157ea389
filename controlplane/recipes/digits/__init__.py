"""Digits: a small network learns to read handwriting, data parallel over the booked seats.

    python -m digits --epochs 8 --optimizer adam --learning-rate 0.004 --schedule cosine

The short name of `python -m learning.training`, whose defaults these are.
"""
