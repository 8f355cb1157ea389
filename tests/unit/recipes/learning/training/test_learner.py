"""Divided work adds up to the same step, and a learner's state carries on where it was made."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.training.learner import Learner, accumulate
from controlplane.recipes.learning.training.schedules import Schedule
from controlplane.recipes.learning.training.settings import OptimizerName, Precision, Settings

STEPS = 6
TASK = TASKS[TaskName.DIGITS]


def batch(images: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand((images, 1, 8, 8), generator=generator)
    return pixels, torch.randint(10, (images,), generator=generator)


def network_without_chance() -> nn.Module:
    torch.manual_seed(0)
    return TASK.network({}).eval()


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def gradients_of_the_mean(pixels: Tensor, labels: Tensor) -> list[Tensor]:
    module = network_without_chance()
    cross_entropy(module(pixels), labels).backward()
    return gradients(module)


def learner(settings: Settings) -> Learner:
    torch.manual_seed(settings.seed)
    return Learner(TASK.network({}), settings=settings, steps=STEPS)


def learn(taught: Learner, *, begin: int, until: int) -> None:
    for step in range(begin, until):
        pixels, labels = batch(9, seed=step)
        torch.manual_seed(step)
        taught.forget_gradients()
        accumulate(taught.module, TASK, (pixels,), labels, parts=2, weight=1 / 9)
        taught.descend(step)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    read: dict[str, Any] = torch.load(content, weights_only=True)
    return read


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
def test_micro_batches_add_up_to_the_gradient_of_one_large_batch(parts: int) -> None:
    pixels, labels = batch(13)
    module = network_without_chance()
    loss = accumulate(module, TASK, (pixels,), labels, parts=parts, weight=1 / 13)
    torch.testing.assert_close(gradients(module), gradients_of_the_mean(pixels, labels))
    with torch.no_grad():
        whole = cross_entropy(module(pixels), labels, reduction="sum")
    assert loss == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize(("images", "ranks"), [(12, 2), (13, 2), (13, 4), (2, 3)])
def test_averaged_over_ranks_the_gradient_is_that_of_the_whole_batch(images: int, ranks: int) -> None:
    pixels, labels = batch(images)
    each = []
    for rank in range(ranks):
        module = network_without_chance()
        accumulate(module, TASK, (pixels[rank::ranks],), labels[rank::ranks], parts=2, weight=ranks / images)
        each.append(gradients(module))
    averaged = [torch.stack(parameter).mean(dim=0) for parameter in zip(*each, strict=True)]
    torch.testing.assert_close(averaged, gradients_of_the_mean(pixels, labels))


def test_in_bfloat16_gradients_are_coarser_but_kept_in_float32() -> None:
    pixels, labels = batch(8)
    module = network_without_chance()
    accumulate(module, TASK, (pixels,), labels, parts=1, weight=1 / 8, precision=Precision.BFLOAT16)
    exact = gradients_of_the_mean(pixels, labels)
    assert {gradient.dtype for gradient in gradients(module)} == {torch.float32}
    assert any(not torch.allclose(a, b, rtol=1e-5) for a, b in zip(gradients(module), exact, strict=True))
    torch.testing.assert_close(gradients(module), exact, rtol=0.1, atol=0.01)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_a_learner_loaded_from_a_state_ends_in_the_same_weights(optimizer: OptimizerName) -> None:
    settings = Settings(optimizer=optimizer, schedule=Schedule.LINEAR, warmup_steps=2, learning_rate=0.01)
    straight = learner(settings)
    learn(straight, begin=0, until=STEPS)

    first = learner(settings)
    learn(first, begin=0, until=3)
    second = learner(Settings(optimizer=optimizer, schedule=Schedule.LINEAR, warmup_steps=2, seed=9))
    second = Learner(second.module, settings=settings, steps=STEPS)
    second.load(through_a_file(first.state()))
    learn(second, begin=3, until=STEPS)

    for name, weights in straight.weights().items():
        assert torch.equal(weights, second.weights()[name]), name


def test_the_rate_of_a_step_is_the_highest_times_the_schedules_share() -> None:
    taught = learner(Settings(schedule=Schedule.LINEAR, warmup_steps=0, learning_rate=0.5))
    assert [taught.rate(step) for step in (0, 3)] == pytest.approx([0.5, 0.25])
