"""From raw data to a model on a device: preparation, training, compression, export.

    python -m learning.data         cleans, splits and shards examples
    python -m learning.training     trains a model, by one of six ways of dividing the work
    python -m learning.compression  makes a trained model smaller, and says what that cost
    python -m learning.evaluation   holds models beside each other, as a table and a picture
    python -m learning.export       packs a compressed model for a device without a network
    python -m learning.inference    lets a model answer prepared examples, shard by shard

Each takes its settings as flags and says with `--help` what they mean; `docs/recipes.md` has the formulas,
their sources and what they measured.
"""
