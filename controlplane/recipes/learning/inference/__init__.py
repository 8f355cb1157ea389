"""Batch inference: a model answers all shards of prepared examples, and each answer counts once.

python -m learning.inference --model file:///results/int8 --data file:///data/digits --split test
"""
