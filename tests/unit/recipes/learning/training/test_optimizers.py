"""Each optimiser takes the steps that its formula says, worked out by hand."""

import pytest
import torch
from torch import nn

from controlplane.recipes.learning.training.optimizers import optimizer
from controlplane.recipes.learning.training.settings import OptimizerName, Settings

GRADIENTS = (4.0, -2.0)
RATE = 0.5


def places(name: OptimizerName) -> list[float]:
    """Where a parameter that begins at 1 is after each of two steps."""
    parameter = nn.Parameter(torch.tensor([1.0]))
    moving = optimizer([parameter], Settings(optimizer=name, learning_rate=RATE, momentum=0.75))
    seen = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor([gradient])
        moving.step()
        seen.append(float(parameter.detach()))
    return seen


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 1 - 0.5 * 4 = -1; -1 + 0.5 * 2 = 0
        (OptimizerName.SGD, [-1.0, 0.0]),
        # v = 0.25 * 4 = 1, 1 - 0.5 = 0.5; v = 0.75 * 1 + 0.25 * -2 = 0.25, 0.5 - 0.125 = 0.375
        (OptimizerName.MOMENTUM, [0.5, 0.375]),
        # v = 4, 1 - 2 = -1; v = 0.75 * 4 - 2 = 1, -1 - 0.5 = -1.5
        (OptimizerName.HEAVY_BALL, [-1.0, -1.5]),
        # m/v are bias-corrected: step 1 is 0.5 * 4 / 4. Step 2: m = (0.9 * 0.4 - 0.2) / 0.19 = 0.8421,
        # v = (0.999 * 0.016 + 0.004) / 0.001999 = 9.997, 0.5 * 0.8421 / 3.1618 = 0.1332
        (OptimizerName.ADAM, [0.5, 0.3668]),
    ],
)
def test_two_steps_lead_where_the_formula_says(name: OptimizerName, expected: list[float]) -> None:
    assert places(name) == pytest.approx(expected, abs=1e-4)


def test_a_parameter_without_gradient_stays() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer([parameter], Settings(optimizer=OptimizerName.MOMENTUM)).step()
    assert float(parameter.detach()) == 1.0
