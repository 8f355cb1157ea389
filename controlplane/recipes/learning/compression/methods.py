"""Methods: what each does to a model. Those that leave a network return one; int8 leaves a graph only."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from ..data.examples import Examples
from ..models.files import Model
from ..models.tasks import TASKS, Task
from ..models.vision import VisionSize, layers
from . import aware, numbers, pruning, weights
from .distillation import distillation_loss
from .settings import Method, Settings
from .teaching import Lesson, teach


def compressed(model: Model, settings: Settings, examples: Examples) -> Model:
    """Raises ValueError where a method does not know the model's network."""
    settings.refuse_task(model.task)
    lesson = Lesson(
        task=TASKS[model.task],
        examples=examples,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )
    match settings.method:
        case Method.NONE | Method.INT8_DYNAMIC | Method.INT8_STATIC:
            return model  # what becomes int8 is the graph
        case Method.SCALE | Method.CLIP | Method.THRESHOLD | Method.FIXED_POINT | Method.INTEGER:
            return _with_each_layer(model, partial(_layer, settings))
        case Method.MAGNITUDE:
            return _pruned(model, settings, lesson)
        case Method.EQUALIZE | Method.CHANNELS | Method.AWARE | Method.DISTIL:
            return _digits(model, settings, lesson)
        case _:
            assert_never(settings.method)


def _layer(settings: Settings, values: Tensor) -> Tensor:
    match settings.method:
        case Method.SCALE:
            return weights.scaled(values, settings.alpha)
        case Method.CLIP:
            return weights.clipped(values, settings.eps)
        case Method.THRESHOLD:
            return pruning.above_threshold(values, settings.eps)
        case Method.FIXED_POINT:
            return numbers.fixed_point(values, settings.bits)
        case _:
            return numbers.integers(values, settings.bits).weights()


def _with_each_layer(model: Model, change: Callable[[Tensor], Tensor]) -> Model:
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for _, values in weights.layers(network):
            values.copy_(change(values))
    return Model(task=model.task, size=model.size, network=network)


def _pruned(model: Model, settings: Settings, lesson: Lesson) -> Model:
    if lesson.epochs == 0:
        return _with_each_layer(model, lambda values: pruning.largest(values, settings.sparsity))
    network = copy.deepcopy(model.network)

    def prune(done: int) -> None:
        sparsity = pruning.planned_sparsity(done, steps=max(lesson.steps // 2, 1), final=settings.sparsity)
        with torch.no_grad():
            for _, values in weights.layers(network):
                values.copy_(pruning.largest(values, sparsity))

    teach(network, lesson, _loss(lesson.task), after_step=prune)
    return Model(task=model.task, size=model.size, network=network)


def _digits(model: Model, settings: Settings, lesson: Lesson) -> Model:
    network = copy.deepcopy(model.network)
    size = VisionSize(**model.size)
    match settings.method:
        case Method.EQUALIZE:
            _equalize(network)
        case Method.CHANNELS:
            network, size = pruning.with_fewer_channels(network, size, settings.sparsity)
            teach(network, lesson, _loss(lesson.task))
        case Method.AWARE:
            rounded = aware.rounding(network, settings.bits)
            teach(rounded, lesson, _loss(lesson.task))
            network = aware.settled(rounded)
        case _:
            return _distilled(model, settings, lesson)
    return Model(task=model.task, size=_plain(size), network=network)


def _equalize(network: nn.Module) -> None:
    """The dense layers, which have only a ReLU between them when nothing is dropped."""
    parts = layers(network)
    first, second = parts.hidden, parts.scores
    with torch.no_grad():
        balanced = weights.equalized(first.weight, first.bias, second.weight)
        for old, new in zip((first.weight, first.bias, second.weight), balanced, strict=True):
            old.copy_(new)


def _distilled(model: Model, settings: Settings, lesson: Lesson) -> Model:
    torch.manual_seed(settings.seed)
    size = {"first": 8, "second": 16, "hidden": 32, "dropout": 0.0, **settings.student}
    student = lesson.task.network(size)
    teacher = model.network.eval()

    def loss(output: Tensor, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        with torch.no_grad():
            taught = teacher(*inputs)
        return distillation_loss(
            output, taught, target, temperature=settings.temperature, alpha=settings.alpha
        )

    teach(student, lesson, loss)
    return Model(task=model.task, size=size, network=student)


def _loss(task: Task) -> Callable[[Tensor, tuple[Tensor, ...], Tensor], Tensor]:
    return lambda output, _, target: task.loss(output, target)


def _plain(size: VisionSize) -> dict[str, Any]:
    return {"first": size.first, "second": size.second, "hidden": size.hidden, "dropout": size.dropout}
