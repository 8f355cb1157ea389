"""Compression: makes a trained model smaller or faster, measures what that cost, and refuses what cost too much.

    python -m learning.compression --model file:///results/model.pt --method int8_static --floor 0.95

One start is one method, so that a pipeline can put them in any order and see the price of each.
"""
