"""Robust least squares over a few hundred unknowns: Levenberg-Marquardt steps on reweighted residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Residuals:
    """The residuals at one set of unknowns."""

    value: Float[Tensor, "n"]
    jacobian: Float[Tensor, "n k"]
    """Derivatives of each value in the k unknowns."""
    weight: Float[Tensor, "n"]
    """Weight of each value; the scale is the caller's choice."""


@dataclass(frozen=True)
class Descent:
    """The result of a minimisation."""

    unknowns: Float[Tensor, "k"]
    cost: float
    """Sum of weighted robust residuals and of the quadratic prior."""
    steps: int
    """Number of steps, rejected ones included."""


def minimise(
    evaluate: Callable[[Float[Tensor, "k"]], Residuals],
    start: Float[Tensor, "k"],
    pull: Float[Tensor, "k"],
    *,
    width: float,
    max_steps: int = 12,
    tolerance: float = 2e-3,
) -> Descent:
    """Minimise sum_i w_i (sqrt(r_i^2 + width^2) - width) + sum_j pull_j u_j^2 from `start` on.

    The loss is quadratic far below `width` and linear far above it, which limits the influence of outliers. A step
    solves the normal equations of the reweighted residuals, damped in each unknown's own scale; a step that would raise
    the cost is rejected and the damping grows. The iteration ends when a step reduces the cost by less than the share
    `tolerance`.

    Source: Levenberg (1944), Marquardt (1963); reweighting as in Holland and Welsch (1977).
    """
    unknowns, damping = start.clone(), 1e-3
    found = evaluate(unknowns)
    cost = _cost(found, unknowns, pull, width)
    steps = 0
    while steps < max_steps and damping < 1e5:
        steps += 1
        share = found.weight / (found.value.square() + width**2).sqrt()
        normal = (found.jacobian * share[:, None]).T @ found.jacobian + torch.diag(2 * pull)
        slope = found.jacobian.T @ (share * found.value) + 2 * pull * unknowns
        damped = normal + damping * torch.diag(normal.diagonal() + 1e-12 * normal.diagonal().max())
        trial = unknowns - torch.linalg.solve(damped.double(), slope.double()).to(unknowns)
        there = evaluate(trial)
        cost_there = _cost(there, trial, pull, width)
        gain = (cost - cost_there) / max(cost, 1e-12)
        if gain > 0:
            unknowns, found, cost, damping = trial, there, cost_there, max(damping / 5, 1e-5)
        else:
            damping *= 8
        if 0 < gain < tolerance:
            break
    return Descent(unknowns, cost, steps)


def _cost(found: Residuals, unknowns: Tensor, pull: Tensor, width: float) -> float:
    robust = (found.value.square() + width**2).sqrt() - width
    return float((found.weight * robust).sum() + (pull * unknowns.square()).sum())
