"""Training: one loop of steps, and six ways for several ranks to divide a step.

    python -m learning.training --task text --strategy fully_sharded --epochs 4

Each optimiser step takes one batch of the shuffled examples, whose size does not depend on the number of
ranks. So `step` alone says where training stands: the order of the examples and all other randomness are
functions of (seed, step, rank), and a checkpoint at any step, taken up by any later attempt with as many ranks
on the same kind of machine, ends in the same weights. With more than two ranks, or with another number of
them than before, sums are added up in another order and the weights agree only up to rounding.
"""
