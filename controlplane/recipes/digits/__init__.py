"""Digits: a small network learns to read handwriting, data parallel over the booked seats.

    python -m digits --epochs 8 --optimizer adam --learning-rate 0.004 --schedule cosine

Ray Train holds one rank on every seat. Each optimiser step takes one batch of the shuffled images, whose
size does not depend on the number of ranks; the ranks divide it, work through their shares in micro-batches
and average their gradients once, with the last. So `step` alone says where training stands: the order of the
images and all other randomness are functions of (seed, step, rank), and a checkpoint at any step, taken up by
any later attempt with as many ranks on the same kind of machine, ends in the same weights. With more than two
ranks, or with another number of them than before, sums are added up in another order and the weights agree
only up to rounding.
"""
