"""The clock of a plan: the moment it is made for, and the next one at which it might come out otherwise.

Whatever depends on the time asks here. So an engine knows for how long a plan that changes nothing stays true, and has
nothing to do until then.
"""

from dataclasses import dataclass
from typing import Final

from schedulers.fair.fleet import NEVER

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
"""Lost work and guesses are measured in whole ones, so they need not be looked at more often."""

EPOCH: Final = 300 * SECOND
"""Age, deadlines and past use change the order only at multiples of this."""


@dataclass(slots=True)
class Clock:
    """All moments in microseconds since the epoch."""

    now: int
    wakes_at: int = NEVER

    def is_past(self, moment: int) -> bool:
        """Whether the moment has come; if it has not, what is decided now holds only until then."""
        if moment <= self.now:
            return True
        self.wakes_at = min(self.wakes_at, moment)
        return False

    def minute(self) -> int:
        """When the present minute began."""
        began = self.now - self.now % MINUTE
        self.is_past(began + MINUTE)
        return began

    def epoch(self) -> int:
        """When the present epoch began."""
        began = self.now - self.now % EPOCH
        self.is_past(began + EPOCH)
        return began
