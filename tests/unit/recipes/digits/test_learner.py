"""Divided work adds up to the same step, and a checkpoint carries on where it was made."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from controlplane.recipes.digits.learner import Learner, accumulate, network, rate_at
from controlplane.recipes.digits.settings import Optimizer, Schedule, Settings

STEPS = 6


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As on a seat: more threads than free cores wait for each other at every operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch(images: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand((images, 1, 8, 8), generator=generator)
    return pixels, torch.randint(10, (images,), generator=generator)


def network_without_chance() -> nn.Module:
    torch.manual_seed(0)
    return network().eval()


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def gradients_of_the_mean(pixels: Tensor, labels: Tensor) -> list[Tensor]:
    module = network_without_chance()
    cross_entropy(module(pixels), labels).backward()
    return gradients(module)


def learner(settings: Settings) -> Learner:
    torch.manual_seed(settings.seed)
    return Learner(network(), settings=settings, steps=STEPS)


def learn(taught: Learner, *, until: int) -> None:
    while taught.step < until:
        pixels, labels = batch(9, seed=taught.step)
        torch.manual_seed(taught.step)
        taught.epoch_loss += taught.learn(taught.module, pixels, labels, weight=1 / 9)


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
    loss = accumulate(module, pixels, labels, parts=parts, weight=1 / 13)
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
        accumulate(module, pixels[rank::ranks], labels[rank::ranks], parts=2, weight=ranks / images)
        each.append(gradients(module))
    averaged = [torch.stack(parameter).mean(dim=0) for parameter in zip(*each, strict=True)]
    torch.testing.assert_close(averaged, gradients_of_the_mean(pixels, labels))


@pytest.mark.parametrize("optimizer", Optimizer)
@pytest.mark.parametrize("schedule", Schedule)
def test_a_learner_loaded_from_a_checkpoint_ends_in_the_same_weights(
    optimizer: Optimizer, schedule: Schedule
) -> None:
    settings = Settings(optimizer=optimizer, schedule=schedule, warmup_steps=2, learning_rate=0.01)
    straight = learner(settings)
    learn(straight, until=STEPS)

    first = learner(settings)
    learn(first, until=3)
    second = learner(settings)
    second.load(through_a_file(first.state()))
    assert (second.step, second.learning_rate) == (3, first.learning_rate)
    learn(second, until=STEPS)

    for name, weights in straight.module.state_dict().items():
        assert torch.equal(weights, second.module.state_dict()[name]), name
    assert second.epoch_loss == straight.epoch_loss


def test_a_checkpoint_made_with_other_settings_is_refused() -> None:
    made = learner(Settings(batch_images=32)).state()
    with pytest.raises(ValueError, match="batch_images was 32, is 64"):
        learner(Settings(batch_images=64)).load(made)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Schedule.CONSTANT, [0.5, 1.0, 1.0, 1.0, 1.0]),
        (Schedule.LINEAR, [0.5, 1.0, 0.75, 0.5, 0.25]),
        (Schedule.COSINE, [0.5, 1.0, 0.854, 0.5, 0.146]),
    ],
)
def test_the_learning_rate_warms_up_and_then_keeps_to_its_schedule(
    schedule: Schedule, rates: list[float]
) -> None:
    seen = [rate_at(step, schedule=schedule, warmup_steps=1, steps=5) for step in range(5)]
    assert seen == pytest.approx(rates, abs=0.001)


def test_momentum_is_what_the_arguments_say() -> None:
    pixels, labels = batch(4)
    moved = {}
    for momentum in (0.0, 0.9):
        taught = learner(
            Settings(optimizer=Optimizer.SGD, momentum=momentum, schedule=Schedule.CONSTANT, warmup_steps=0)
        )
        taught.module.eval()
        for _ in range(2):
            taught.learn(taught.module, pixels, labels, weight=1 / 4)
        moved[momentum] = taught.module.state_dict()["0.bias"]
    assert not torch.equal(moved[0.0], moved[0.9])
