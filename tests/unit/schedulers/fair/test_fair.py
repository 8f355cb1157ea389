"""The fair policy: its laws."""

from schedulers.fair.policy import Fair
from schedulers.testing import PolicyLaws


class TestFair(PolicyLaws):
    def policy(self) -> Fair:
        return Fair()
