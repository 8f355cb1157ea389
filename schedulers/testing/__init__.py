"""What a policy is held to: laws to inherit, and cases written down as data."""

from schedulers.testing.cases import Case, load
from schedulers.testing.fairness import FairnessLaws
from schedulers.testing.laws import EPOCH, EPOCH_US, Picture, PolicyLaws

__all__ = ["EPOCH", "EPOCH_US", "Case", "FairnessLaws", "Picture", "PolicyLaws", "load"]
