"""The fair policy under the laws of sharing and preemption, in worlds that are drawn."""

from schedulers.fair.policy import Fair
from schedulers.testing import FairnessLaws


class TestFair(FairnessLaws):
    def policy(self) -> Fair:
        return Fair()
