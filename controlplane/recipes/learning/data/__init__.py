"""Data: where examples come from, what is taken out of them, and how they are divided.

python -m learning.data --source digits --output file:///data/digits --seed 0 --shards 4
"""
