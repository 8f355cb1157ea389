"""Distillation: a small student learns from what a large teacher answers, not from labels alone."""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float, alpha: float
) -> Tensor:
    """L = alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) CE(student, labels).

    Summed over the examples (Hinton, Vinyals, Dean 2015). T^2 keeps both gradients of one size for any T.
    """
    softly = kl_div(
        log_softmax(student / temperature, dim=1),
        log_softmax(teacher / temperature, dim=1),
        reduction="sum",
        log_target=True,
    )
    return alpha * temperature**2 * softly + (1 - alpha) * cross_entropy(student, labels, reduction="sum")
