"""Gates: what the metrics of a model version must reach before it may serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Comparison(StrEnum):
    AT_LEAST = "at_least"
    """More is better, as with accuracy."""

    AT_MOST = "at_most"
    """Less is better, as with loss or latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """With a limit, a slack or both."""

    name: str
    metric: str
    comparison: Comparison
    limit: float | None = None
    slack: float | None = None
    """By how much it may be worse than the version in production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A gate that keeps a version out."""

    gate: Gate
    sentence: str
    value: float | None = None
    limit: float | None = None


Metrics = Mapping[str, float | None]


def obstacles(gates: Sequence[Gate], metrics: Metrics, in_production: Metrics | None) -> list[Obstacle]:
    """Of all gates, in their order. None in production: there is nothing to compare with."""
    found = (_obstacle(gate, metrics, in_production or {}) for gate in gates)
    return [each for each in found if each is not None]


def _obstacle(gate: Gate, metrics: Metrics, in_production: Metrics) -> Obstacle | None:
    value = metrics.get(gate.metric)
    if value is None:
        what = "no finite number" if gate.metric in metrics else "not reported"
        return Obstacle(gate=gate, sentence=f"the metric {gate.metric!r} was {what}", limit=gate.limit)
    if gate.limit is not None and _is_worse(gate, value, Decimal(repr(gate.limit))):
        asked = "at least" if gate.comparison is Comparison.AT_LEAST else "at most"
        sentence = f"{gate.metric} is {value:g}, {asked} {gate.limit:g} is asked for"
        return Obstacle(gate=gate, sentence=sentence, value=value, limit=gate.limit)
    return _regression(gate, value, in_production.get(gate.metric))


def _regression(gate: Gate, value: float, serving: float | None) -> Obstacle | None:
    if gate.slack is None or serving is None:
        return None
    # Decimals: as floats, 0.8 - 0.1 is more than 0.7.
    slack = Decimal(repr(gate.slack))
    bound = Decimal(repr(serving)) + (-slack if gate.comparison is Comparison.AT_LEAST else slack)
    if not _is_worse(gate, value, bound):
        return None
    sentence = (
        f"{gate.metric} is {value:g}, in production it is {serving:g},"
        f" and at most {gate.slack:g} worse is allowed"
    )
    return Obstacle(gate=gate, sentence=sentence, value=value, limit=float(bound))


def _is_worse(gate: Gate, value: float, bound: Decimal) -> bool:
    ours = Decimal(repr(value))
    return ours < bound if gate.comparison is Comparison.AT_LEAST else ours > bound
