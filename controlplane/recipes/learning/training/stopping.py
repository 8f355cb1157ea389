"""Early stopping: when more epochs no longer help."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The best held-out loss so far, and for how many epochs nothing better came."""

    epochs: int
    """How many to wait; 0 waits for ever."""

    least_gain: float = 0.0
    best: float = float("inf")
    waited: int = 0

    def after(self, loss: float) -> "Patience":
        better = loss < self.best - self.least_gain
        return Patience(
            epochs=self.epochs,
            least_gain=self.least_gain,
            best=loss if better else self.best,
            waited=0 if better else self.waited + 1,
        )

    @property
    def is_over(self) -> bool:
        return self.epochs > 0 and self.waited >= self.epochs

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Patience":
        return cls(**state)
