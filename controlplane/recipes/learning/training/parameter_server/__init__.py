"""Parameter server: parameters live in actors; ranks pull them, and push the gradients of their shares.

Li et al. 2014 (Scaling Distributed Machine Learning with the Parameter Server). How far a rank may run ahead
of the slowest is bounded (stale synchronous parallel: Ho et al. 2013); a bound of 0 is synchronous, and then
the servers take exactly the steps that one process would.
"""
