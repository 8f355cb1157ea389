"""Gates: each rule at its very limit, in decimals, and what is said when it is not reached."""

from collections.abc import Mapping

import pytest

from controlplane.domain.gates import Comparison, Gate, obstacles

ACCURACY = Gate(name="good", metric="accuracy", comparison=Comparison.AT_LEAST, limit=0.9)
LOSS = Gate(name="sure", metric="loss", comparison=Comparison.AT_MOST, limit=0.5)
NO_WORSE = Gate(name="kept", metric="accuracy", comparison=Comparison.AT_LEAST, slack=0.1)
NO_SLOWER = Gate(name="fast", metric="latency", comparison=Comparison.AT_MOST, slack=0.1)
Metrics = Mapping[str, float | None]


@pytest.mark.parametrize(
    ("gate", "metrics", "serving"),
    [
        (ACCURACY, {"accuracy": 0.9}, None),
        (LOSS, {"loss": 0.5}, None),
        (NO_WORSE, {"accuracy": 0.7}, {"accuracy": 0.8}),  # as floats, 0.8 - 0.1 is above 0.7
        (NO_SLOWER, {"latency": 0.3}, {"latency": 0.2}),
        (NO_WORSE, {"accuracy": 0.1}, None),
        (NO_WORSE, {"accuracy": 0.1}, {"loss": 0.2}),
        (NO_WORSE, {"accuracy": 0.1}, {"accuracy": None}),
    ],
)
def test_what_reaches_the_limit_passes(gate: Gate, metrics: Metrics, serving: Metrics | None) -> None:
    assert obstacles([gate], metrics, serving) == []


@pytest.mark.parametrize(
    ("gate", "metrics", "serving", "sentence", "limit"),
    [
        (ACCURACY, {"accuracy": 0.89}, None, "accuracy is 0.89, at least 0.9 is asked for", 0.9),
        (LOSS, {"loss": 0.51}, None, "loss is 0.51, at most 0.5 is asked for", 0.5),
        (ACCURACY, {"loss": 0.1}, None, "the metric 'accuracy' was not reported", 0.9),
        (ACCURACY, {"accuracy": None}, None, "the metric 'accuracy' was no finite number", 0.9),
        (
            NO_WORSE,
            {"accuracy": 0.69},
            {"accuracy": 0.8},
            "accuracy is 0.69, in production it is 0.8, and at most 0.1 worse is allowed",
            0.7,
        ),
        (
            NO_SLOWER,
            {"latency": 0.31},
            {"latency": 0.2},
            "latency is 0.31, in production it is 0.2, and at most 0.1 worse is allowed",
            0.3,
        ),
    ],
)
def test_what_does_not_is_told_by_how_much(
    gate: Gate, metrics: Metrics, serving: Metrics | None, sentence: str, limit: float
) -> None:
    (obstacle,) = obstacles([gate], metrics, serving)
    assert (obstacle.sentence, obstacle.limit) == (sentence, limit)
    assert obstacle.value == metrics.get(gate.metric)


def test_every_gate_is_judged_in_order() -> None:
    found = obstacles([LOSS, ACCURACY, NO_WORSE], {"accuracy": 0.5, "loss": 0.6}, {"accuracy": 0.9})
    assert [each.gate.name for each in found] == ["sure", "good", "kept"]
