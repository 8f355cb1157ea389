"""Each formula of compression on vectors worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from controlplane.recipes.learning.compression import numbers, pruning, weights
from controlplane.recipes.learning.compression.aware import (
    RoundedActivations,
    RoundedWeights,
    rounding,
    settled,
)
from controlplane.recipes.learning.compression.distillation import distillation_loss
from controlplane.recipes.learning.compression.measuring import BelowFloor, require_floor
from controlplane.recipes.learning.models.vision import VisionSize, layers, network

W = torch.tensor([0.3, -0.8, 0.05, -0.05, 1.2])


def listed(values: Tensor) -> list[float]:
    return [round(float(value), 6) for value in values.flatten()]


def test_scaling_multiplies_by_alpha() -> None:
    assert listed(weights.scaled(W, 0.5)) == [0.15, -0.4, 0.025, -0.025, 0.6]


def test_clipping_holds_weights_between_minus_eps_and_eps() -> None:
    assert listed(weights.clipped(W, 0.5)) == [0.3, -0.5, 0.05, -0.05, 0.5]
    with pytest.raises(ValueError, match="positive limit, not 0"):
        weights.clipped(W, 0.0)


def test_equalised_layers_answer_as_before_and_have_the_same_ranges() -> None:
    first, bias, second = (
        torch.tensor([[8.0, 4.0], [0.5, 1.0]]),
        torch.tensor([1.0, -1.0]),
        torch.tensor([[2.0, 4.0]]),
    )
    new_first, new_bias, new_second = weights.equalized(first, bias, second)
    # sqrt(8 / 2) = 2 and sqrt(1 / 4) = 0.5
    assert listed(new_first) == [4.0, 2.0, 1.0, 2.0]
    assert listed(new_bias) == [0.5, -2.0]
    assert listed(new_second) == [4.0, 2.0]
    x = torch.tensor([0.3, 0.9])
    before = second @ torch.relu(first @ x + bias)
    torch.testing.assert_close(new_second @ torch.relu(new_first @ x + new_bias), before)


@pytest.mark.parametrize("accuracy", [0.79, float("nan")])
def test_only_what_reaches_the_floor_is_published(accuracy: float) -> None:
    require_floor(0.8, 0.8)
    with pytest.raises(BelowFloor, match="below the floor"):
        require_floor(accuracy, 0.8)


def test_the_threshold_keeps_what_reaches_it() -> None:
    assert listed(pruning.above_threshold(W, 0.3)) == [0.3, -0.8, 0.0, 0.0, 1.2]


def test_the_smallest_share_goes_and_of_equal_ones_the_first() -> None:
    assert listed(pruning.largest(W, 0.2)) == [0.3, -0.8, 0.0, -0.05, 1.2]
    assert listed(pruning.largest(W, 0.79)) == [0.0, -0.8, 0.0, 0.0, 1.2]
    assert listed(pruning.largest(W, 0.0)) == listed(W)
    with pytest.raises(ValueError, match=r"not 1.5"):
        pruning.largest(W, 1.5)


def test_the_plan_prunes_much_at_first_and_ends_at_its_goal() -> None:
    seen = [pruning.planned_sparsity(step, steps=4, final=0.8) for step in (0, 1, 2, 4, 9)]
    assert seen == pytest.approx([0.0, 0.8 * (1 - 27 / 64), 0.7, 0.8, 0.8])


def test_zeros_are_counted_over_all_layers() -> None:
    assert pruning.zeros([torch.tensor([0.0, 1.0]), torch.zeros(2)]) == 0.75


def test_channels_with_the_smallest_norms_go_and_the_others_answer_as_if_those_were_zero() -> None:
    torch.manual_seed(0)
    size = VisionSize(first=4, second=6, hidden=8, dropout=0.0)
    old = network(size).eval()
    new, smaller = pruning.with_fewer_channels(old, size, 0.5)
    assert smaller == VisionSize(first=2, second=3, hidden=4, dropout=0.0)
    with torch.no_grad():
        for layer in layers(old)[:3]:
            gone = layer.weight.abs().flatten(1).sum(dim=1).argsort()[: len(layer.weight) // 2]
            layer.weight[gone] = 0
            assert layer.bias is not None
            layer.bias[gone] = 0
    pixels = torch.rand((5, 1, 8, 8))
    torch.testing.assert_close(new(pixels), old(pixels))


def test_fixed_point_rounds_to_multiples_and_halves_to_even() -> None:
    assert listed(numbers.fixed_point(W, 2)) == [0.25, -0.75, 0.0, 0.0, 1.25]
    assert listed(numbers.fixed_point(torch.tensor([0.125, 0.375]), 2)) == [0.0, 0.5]


def test_integers_use_the_whole_range_of_their_row() -> None:
    rows = torch.tensor([[3.0, -1.6, 0.4], [0.03, 0.0, -0.01]])
    found = numbers.integers(rows, 3)  # from -3 to 3
    assert listed(found.values) == [3, -2, 0, 3, 0, -1]
    assert listed(found.scale) == [1.0, 0.01]
    assert listed(found.weights()) == [3.0, -2.0, 0.0, 0.03, 0.0, -0.01]
    with pytest.raises(ValueError, match="2 bits at least, not 1"):
        numbers.integers(rows, 1)


def test_a_row_of_zeros_stays_one() -> None:
    assert listed(numbers.integers(torch.zeros((1, 2)), 8).weights()) == [0.0, 0.0]


@pytest.mark.parametrize("bits", [3, 8])
def test_weights_in_training_are_rounded_as_integers_are(bits: int) -> None:
    values = torch.randn((4, 9), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(RoundedWeights(bits)(values), numbers.integers(values, bits).weights())


def test_the_gradient_passes_through_the_rounding() -> None:
    values = torch.tensor([[3.0, -1.6, 0.4]], requires_grad=True)
    (RoundedWeights(3)(values) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None
    assert listed(values.grad) == [1.0, 2.0, 3.0]


def test_activations_are_rounded_in_the_range_that_came_by() -> None:
    rounded = RoundedActivations(memory=0.5)
    rounded(torch.tensor([0.0, 255.0]))
    rounded(torch.tensor([0.0, 765.0]))  # remembered: (255 + 765) / 2 = 510, so in steps of 2
    rounded.eval()
    assert listed(rounded(torch.tensor([0.9, 1.1, 600.0]))) == [0.0, 2.0, 510.0]


def test_a_settled_network_has_the_weights_that_it_learned_with() -> None:
    torch.manual_seed(0)
    plain = network(VisionSize(first=2, second=2, hidden=4))
    before = numbers.integers(layers(plain).hidden.weight.detach().clone(), 3).weights()
    after = settled(rounding(plain, 3))
    torch.testing.assert_close(layers(after).hidden.weight, before)
    assert not [name for name in after.state_dict() if "parametrizations" in name]
    assert [type(layer) for layer in after if isinstance(layer, nn.ReLU)] == [nn.ReLU] * 3


def test_a_student_is_taught_by_soft_answers_and_by_labels() -> None:
    teacher, student = torch.tensor([[2.0 * math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    labels = torch.tensor([0])
    # At T = 2 the teacher says 3/4 and 1/4, the student 1/2 and 1/2.
    softly = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = distillation_loss(student, teacher, labels, temperature=2.0, alpha=0.3)
    assert float(found) == pytest.approx(0.3 * 4 * softly + 0.7 * math.log(2))


def test_a_student_that_answers_as_its_teacher_has_only_labels_to_learn() -> None:
    answers = torch.tensor([[1.0, -1.0, 0.5]])
    found = distillation_loss(answers, answers, torch.tensor([2]), temperature=5.0, alpha=1.0)
    assert float(found) == pytest.approx(0.0, abs=1e-6)
