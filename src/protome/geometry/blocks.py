"""Robust least squares over shared unknowns and many small sets of own unknowns, which are eliminated first.

Bundle adjustment has this form: cameras are shared by all points of a scene, and each point has its own depth; or a
person's shape is shared by all photos, and each photo has its own pose. Source: Triggs et al. (2000), Bundle
adjustment - a modern synthesis, section 6.1 (Schur complement).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Residuals of b blocks, each with n two-dimensional values, at one place."""

    value: Float[Tensor, "b n 2"]
    shared: Float[Tensor, "b n 2 c"]
    """Derivatives in the shared unknowns that the block depends on."""
    columns: Int[Tensor, "b c"]
    """Which of the shared unknowns these are; of one that is named twice the derivative is the sum."""
    own: Float[Tensor, "b n 2 k"]
    """Derivatives in the block's own unknowns; k may be 0."""
    weight: Float[Tensor, "b n"]
    """What each value counts."""
    width: float
    """Length up to which a value counts squared; far above it, it counts no more."""

    def cost(self) -> float:
        """Return the sum of weighted Geman-McClure costs, each half the squared length near zero."""
        square, width = self.value.square().sum(-1), self.width**2
        return float((self.weight * square * width / (square + width)).sum()) / 2

    def curvature(self) -> Float[Tensor, "b n"]:
        """Return the weights with which the squares have the same slope as the robust costs."""
        return self.weight * (self.width**2 / (self.value.square().sum(-1) + self.width**2)) ** 2


@dataclass(frozen=True)
class Solution:
    """Where a minimisation ended."""

    shared: Float[Tensor, "s"]
    own: tuple[Float[Tensor, "_ _"], ...]
    """One tensor for each set of blocks."""
    covariance: Float[Tensor, "s s"]
    """Of the shared unknowns, where all residuals are independent and of unit variance."""
    cost: float


def minimise_blocks(
    evaluate: Callable[[Float[Tensor, "s"], tuple[Float[Tensor, "_ _"], ...]], tuple[Blocks, ...]],
    shared: Float[Tensor, "s"],
    own: tuple[Float[Tensor, "_ _"], ...],
    precision: Float[Tensor, "s"],
    own_precision: tuple[Float[Tensor, "_"], ...],
    *,
    max_steps: int = 15,
    tolerance: float = 1e-4,
) -> Solution:
    """Minimise the blocks' costs and the halves of precision times squared unknowns by Levenberg-Marquardt steps.

    `evaluate` returns one set of blocks for each tensor of `own`. The descent ends when a step gains less than the
    share `tolerance` of the cost.
    """
    damping = 1e-3
    found = evaluate(shared, own)
    cost = _cost(found, shared, own, precision, own_precision)
    for _ in range(max_steps):
        step, own_steps = _step(found, shared, own, precision, own_precision, damping)
        trial, own_trial = shared - step, tuple(a - b for a, b in zip(own, own_steps, strict=True))
        there = evaluate(trial, own_trial)
        cost_there = _cost(there, trial, own_trial, precision, own_precision)
        gain = (cost - cost_there) / max(cost, 1e-12)
        if gain > 0:
            shared, own, found, cost, damping = trial, own_trial, there, cost_there, max(damping / 10, 1e-7)
        else:
            damping *= 10
        if 0 < gain < tolerance or damping > 1e6:
            break
    return Solution(shared, own, torch.linalg.inv(_reduced(found, shared, own, precision, own_precision, 0.0)[0]), cost)


def _cost(
    found: tuple[Blocks, ...], shared: Tensor, own: tuple[Tensor, ...], precision: Tensor,
    own_precision: tuple[Tensor, ...],
) -> float:  # fmt: skip
    pulls = float((precision * shared.square()).sum())
    pulls += sum(float((pull * values.square()).sum()) for pull, values in zip(own_precision, own, strict=True))
    return sum(blocks.cost() for blocks in found) + pulls / 2


def _step(
    found: tuple[Blocks, ...], shared: Tensor, own: tuple[Tensor, ...], precision: Tensor,
    own_precision: tuple[Tensor, ...], damping: float,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Return the damped Gauss-Newton steps, to be subtracted."""
    normal, slope, parts = _reduced(found, shared, own, precision, own_precision, damping)
    step = torch.linalg.solve(normal, slope)
    return step, [
        own_slope - torch.einsum("bkc,bc->bk", across, step[blocks.columns])
        for blocks, (own_slope, across) in zip(found, parts, strict=True)
    ]


def _reduced(
    found: tuple[Blocks, ...], shared: Tensor, own: tuple[Tensor, ...], precision: Tensor,
    own_precision: tuple[Tensor, ...], damping: float,
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:  # fmt: skip
    """Return the normal equations of the shared unknowns, and how each block's own step follows from theirs."""
    size = len(shared)
    normal, slope, parts = torch.diag(precision), precision * shared, []
    lessened, corrected = torch.zeros_like(normal), torch.zeros_like(slope)
    for blocks, values, pull in zip(found, own, own_precision, strict=True):
        count, number = blocks.value.shape[:2]
        weight = blocks.curvature()[..., None].expand(-1, -1, 2).reshape(count, 2 * number, 1)
        value = blocks.value.reshape(count, 2 * number, 1)
        J = blocks.shared.reshape(count, 2 * number, blocks.columns.shape[1])
        E = blocks.own.reshape(count, 2 * number, len(pull))
        at = blocks.columns.reshape(-1)
        pairs = (blocks.columns[:, :, None] * size + blocks.columns[:, None]).reshape(-1)
        weighted = (weight * J).transpose(1, 2)
        normal.view(-1).index_add_(0, pairs, (weighted @ J).reshape(-1))
        slope.index_add_(0, at, (weighted @ value).reshape(-1))
        weighted = (weight * E).transpose(1, 2)
        inner = weighted @ E + torch.diag(pull)
        inner = inner + damping * torch.diag_embed(inner.diagonal(dim1=1, dim2=2))
        own_slope = (weighted @ value)[..., 0] + pull * values
        across = weighted @ J
        solved = torch.linalg.solve(inner, torch.cat([own_slope[..., None], across], 2))
        lessened.view(-1).index_add_(0, pairs, (across.transpose(1, 2) @ solved[..., 1:]).reshape(-1))
        corrected.index_add_(0, at, torch.einsum("bks,bk->bs", across, solved[..., 0]).reshape(-1))
        parts.append((solved[..., 0], solved[..., 1:]))
    damped = normal + damping * torch.diag(normal.diagonal() + 1e-12 * normal.diagonal().max())
    return damped - lessened, slope - corrected, parts
