"""Least squares over shared unknowns and blocks with their own: exact where it is linear, and robust."""

from __future__ import annotations

import torch
from torch import Tensor

from protome.geometry.blocks import Blocks, minimise_blocks

WIDE = 1e6


def _linear(count: int = 6, values: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(count, values, 2, 3, generator=generator).double()
    own = torch.randn(count, values, 2, 2, generator=generator).double()
    return shared, own, torch.randn(count, values, 2, generator=generator).double()


def _blocks(shared: Tensor, own: Tensor, wanted: Tensor, a: Tensor, b: Tensor, width: float) -> Blocks:
    value = shared @ a + torch.einsum("bnrk,bk->bnr", own, b) - wanted
    columns = torch.arange(3).expand(len(value), 3)
    return Blocks(value, shared, columns, own, torch.ones_like(value[..., 0]), width)


def test_a_linear_problem_is_solved_as_without_elimination() -> None:
    shared, own, wanted = _linear()
    count, width = len(shared), shared.shape[1] * 2
    pull = torch.tensor([0.5, 1.0, 2.0]).double()
    found = minimise_blocks(
        lambda a, b: (_blocks(shared, own, wanted, a, b[0], WIDE),), torch.zeros(3).double(),
        (torch.zeros(count, 2).double(),), pull, (torch.ones(2).double(),), max_steps=40, tolerance=1e-14,
    )  # fmt: skip
    whole = torch.zeros(count * width, 3 + 2 * count).double()
    whole[:, :3] = shared.reshape(-1, 3)
    for number in range(count):
        rows = slice(number * width, (number + 1) * width)
        whole[rows, 3 + 2 * number : 5 + 2 * number] = own[number].reshape(-1, 2)
    normal = whole.T @ whole + torch.diag(torch.cat([pull, torch.ones(2 * count).double()]))
    exact = torch.linalg.solve(normal, whole.T @ wanted.reshape(-1))
    torch.testing.assert_close(found.shared, exact[:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.own[0].reshape(-1), exact[3:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.covariance, torch.linalg.inv(normal)[:3, :3], atol=1e-6, rtol=1e-5)


def test_what_is_far_off_counts_no_more() -> None:
    shared, own, _ = _linear()
    truth = torch.tensor([1.0, -2.0, 0.5]).double()
    depths = torch.ones(len(own), 2).double()
    wanted = shared @ truth + torch.einsum("bnrk,bk->bnr", own, depths)
    wrong = wanted.clone()
    wrong[:, 0] += 5.0
    errors = []
    for width in (WIDE, 0.5):
        found = minimise_blocks(
            lambda a, b, width=width: (_blocks(shared, own, wrong, a, b[0], width),), truth + 0.1,  # type: ignore[misc]
            (depths,), torch.zeros(3).double(), (torch.zeros(2).double(),), max_steps=60, tolerance=1e-12,
        )  # fmt: skip
        errors.append(float((found.shared - truth).norm()))
    assert errors[0] > 0.1
    assert errors[1] < 0.02


def test_blocks_without_own_unknowns_count_too() -> None:
    shared, own, wanted = _linear()
    nothing = own[..., :0]
    found = minimise_blocks(
        lambda a, b: (_blocks(shared, nothing, wanted, a, b[0], WIDE),), torch.zeros(3).double(),
        (torch.zeros(len(own), 0).double(),), torch.zeros(3).double(), (torch.zeros(0).double(),), tolerance=1e-14,
    )  # fmt: skip
    exact = torch.linalg.lstsq(shared.reshape(-1, 3), wanted.reshape(-1, 1)).solution[:, 0]
    torch.testing.assert_close(found.shared, exact, atol=1e-6, rtol=1e-6)
