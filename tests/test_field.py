"""Encoding, networks and head field: written-out derivatives against autograd, values against their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import CLOSE, hidden_layer, plain
from protome.field.activation import Activation, activated, with_slope
from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.encoding import Encoding, progressive_weights
from protome.field.field import surface_by_autograd
from protome.field.mlp import Mlp, initialise_small, initialise_sphere

POINT = [0.3, -0.7, 0.2]


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Activations


def test_activations_are_their_formulas() -> None:
    points = torch.tensor([-0.5, -0.03, 0.0, 0.02, 0.5], dtype=torch.float64)
    gap = 0.02 * math.log(2)
    truth = {
        "softplus": [math.log1p(math.exp(100 * x)) / 100 for x in points.tolist()],
        "squareplus": [(x + math.sqrt(x**2 + gap**2)) / 2 for x in points.tolist()],
    }
    for kind in ("softplus", "squareplus"):
        values = torch.tensor(truth[kind], dtype=torch.float64)
        tolerance = 1e-12 if kind == "squareplus" else 1e-10
        torch.testing.assert_close(activated(points, kind), values, rtol=0, atol=tolerance)
        torch.testing.assert_close(with_slope(points, kind)[0], activated(points, kind))
        half = activated(points.bfloat16(), kind)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, activated(points.bfloat16().float(), kind))
    assert truth["softplus"][2] == pytest.approx(truth["squareplus"][2])


@pytest.mark.parametrize("kind", ["squareplus", "softplus"])
def test_derivatives_of_activations_pass_gradcheck(kind: Activation) -> None:
    points = torch.linspace(-0.06, 0.06, 9, dtype=torch.float64, requires_grad=True)
    for output in (0, 1):
        assert torch.autograd.gradcheck(lambda x, output=output: with_slope(x, kind)[output], points, eps=1e-7)
    assert torch.autograd.gradcheck(lambda x: activated(x, kind), points, eps=1e-7)
    assert torch.autograd.gradgradcheck(lambda x: activated(x, kind), points, eps=1e-7)


# Encoding


def test_progressive_weights_are_the_papers() -> None:
    for alpha in (0.0, 0.25, 1.0, 1.5, 2.75, 4.0, 7.0):
        table = []
        for k in range(4):
            ramp = 0.5 * (1 - math.cos((alpha - k) * math.pi))
            table.append(0.0 if alpha < k else ramp if alpha - k < 1 else 1.0)
        torch.testing.assert_close(progressive_weights(4, alpha), torch.tensor(table), msg=f"alpha {alpha}")
    assert progressive_weights(3, 1.5).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("alpha", [None, 0.0, 1.25])
def test_encoding_is_the_formula(alpha: float | None) -> None:
    encoding = Encoding(3, alpha)
    value = encoding(torch.tensor([POINT], dtype=torch.float64)).value[0]
    weights = [1.0] * 3 if alpha is None else progressive_weights(3, alpha).tolist()
    truth = list(POINT)
    for x in POINT:
        truth += [weights[k] * math.sin(2**k * x) for k in range(3)]
        truth += [weights[k] * math.cos(2**k * x) for k in range(3)]
    assert encoding.width == len(truth) == 21
    torch.testing.assert_close(value, torch.tensor(truth, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [None, 1.25])
def test_encoding_vjp_is_autograds(alpha: float | None) -> None:
    encoding = Encoding(4, alpha)
    points = _random(2, 5, 3).requires_grad_(True)
    cotangent = _random(2, 5, encoding.width, seed=2).requires_grad_(True)
    encoded = encoding(points)
    (truth,) = torch.autograd.grad(encoded.value, points, cotangent, retain_graph=True)
    torch.testing.assert_close(encoding.vjp(encoded, cotangent), truth)
    assert torch.autograd.gradcheck(lambda x: encoding(x).value, points)
    assert torch.autograd.gradcheck(lambda x, c: encoding.vjp(encoding(x), c), (points, cotangent))


# Networks


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"steered": 0},
    "steered": {"steered": 2},
    "softplus": {"steered": 2, "activation": "softplus"},
    "normalised": {"steered": 2, "weight_norm": True},
}


def _mlp(depth: int = 4, condition: int = 5, kind: str = "plain") -> Mlp:
    torch.manual_seed(depth)
    mlp = Mlp(7, 3, 12, depth, condition, **KINDS[kind]).double()
    with torch.no_grad():  # weights this large bring the activation into its curved part and out of it
        for parameter in mlp.parameters():
            parameter.mul_(1.5)
        if mlp.gains is not None:  # the lengths of the directions do not matter
            hidden_layer(mlp, 0).weight.mul_(0.5)
    return mlp


INPUTS, CONDITION, COTANGENT = 0.3 * _random(2, 6, 7), _random(2, 5, seed=3), _random(2, 6, 3, seed=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_a_folded_condition_is_the_unfolded_condition(depth: int, kind: str) -> None:
    mlp = _mlp(depth, kind=kind)
    truth = plain(mlp, INPUTS, CONDITION)
    torch.testing.assert_close(mlp(INPUTS, CONDITION), truth, **CLOSE)
    # Each scene has its own condition, and it matters.
    assert float((plain(mlp, INPUTS, CONDITION.flip(0)) - truth).detach().abs().max()) > 0.01
    # Zero is no condition.
    torch.testing.assert_close(mlp(INPUTS, 0 * CONDITION), plain(_without(mlp), INPUTS, None), **CLOSE)
    without = _mlp(depth, 0, kind)
    torch.testing.assert_close(without(INPUTS), plain(without, INPUTS, None), **CLOSE)


def _without(mlp: Mlp) -> Mlp:
    """The network without its condition layers."""
    own = Mlp(7, 3, 12, len(mlp.hidden) + 1, activation=mlp.activation, weight_norm=mlp.gains is not None).double()
    own.load_state_dict({key: value for key, value in mlp.state_dict().items() if key in own.state_dict()})
    return own


def test_a_steered_output_is_linear_in_the_condition() -> None:
    mlp = _mlp(kind="steered")
    with torch.no_grad():
        assert mlp.condition is not None
        mlp.condition.weight.zero_()
    zero, one, two = (mlp(INPUTS, factor * CONDITION) for factor in (0, 1, 2))
    torch.testing.assert_close(two - zero, 2 * (one - zero), **CLOSE)
    assert float((one - zero)[..., :2].detach().abs().max()) > 0.1
    assert torch.equal(one[..., 2], zero[..., 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_forward_with_tape_and_vjp_are_forward_and_autograd(depth: int, kind: str) -> None:
    mlp = _mlp(depth, kind=kind)
    inputs = INPUTS.clone().requires_grad_(True)
    tape = mlp.forward_with_tape(inputs, CONDITION)
    assert torch.equal(tape.value, mlp(inputs, CONDITION))
    (truth,) = torch.autograd.grad(plain(mlp, inputs, CONDITION), inputs, COTANGENT)
    torch.testing.assert_close(mlp.vjp(tape, COTANGENT), truth, **CLOSE)


def _of_slopes(value: Tensor, slope: Tensor) -> Tensor:
    """Any scalar that depends on outputs and on input gradients, as the eikonal loss does."""
    return ((slope.norm(dim=-1) - 1) ** 2).mean() + value.sin().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_parameter_gradients_through_the_vjp_are_autograds_double_backward(kind: str) -> None:
    mlp, condition = _mlp(kind=kind), CONDITION.clone().requires_grad_(True)
    inputs = INPUTS.clone().requires_grad_(True)
    wanted = {"inputs": inputs, "condition": condition, **dict(mlp.named_parameters())}
    tape = mlp.forward_with_tape(inputs, condition)
    own = torch.autograd.grad(
        _of_slopes(tape.value, mlp.vjp(tape, COTANGENT)), list(wanted.values()), allow_unused=True
    )
    value = plain(mlp, inputs, condition)
    (slope,) = torch.autograd.grad(value, inputs, COTANGENT, create_graph=True)
    truth = torch.autograd.grad(_of_slopes(value, slope), list(wanted.values()))
    for name, ours, theirs in zip(wanted, own, truth, strict=True):
        assert float(theirs.abs().max()) > 1e-4, name
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_vjp_passes_gradcheck(kind: str) -> None:
    mlp, inputs = _mlp(3, kind=kind), INPUTS[:, :2].clone().requires_grad_(True)
    condition, cotangent = CONDITION.clone().requires_grad_(True), COTANGENT[:, :2]

    def slope(x: Tensor, z: Tensor) -> Tensor:
        return mlp.vjp(mlp.forward_with_tape(x, z), cotangent)

    assert torch.autograd.gradcheck(slope, (inputs, condition), eps=1e-7)


@pytest.mark.parametrize("weight_norm", [False, True])
def test_wide_networks_start_as_spheres(weight_norm: bool) -> None:
    encoding, points = Encoding(6), torch.rand(1, 400, 3) * 2 - 1
    truth = points[0].norm(dim=1) - 0.6
    errors, cosines = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        mlp = Mlp(encoding.width, 1, 512, 5, weight_norm=weight_norm)
        initialise_sphere(mlp, 0.6)
        with torch.no_grad():
            encoded = encoding(points)
            tape = mlp.forward_with_tape(encoded.value)
            gradient = encoding.vjp(encoded, mlp.vjp(tape, torch.ones_like(tape.value)))[0]
        errors.append(tape.value[0, :, 0] - truth)
        cosines.append(nn.functional.cosine_similarity(gradient, points[0], dim=1))
    # The expectation over the weights is |x| - r; one draw is off by about |x| sqrt(layers / width) = 0.1.
    error, cosine = torch.stack(errors), torch.stack(cosines)
    assert float(error.mean(0).abs().mean()) < 0.08
    assert float(error.abs().mean()) < 0.13
    assert float(cosine.mean()) > 0.96


@pytest.mark.parametrize("kind", KINDS)
def test_small_start_gives_small_outputs_whatever_the_condition(kind: str) -> None:
    torch.manual_seed(0)
    mlp = Mlp(15, 4, 192, 5, 128, **KINDS[kind])
    initialise_small(mlp)
    # Latents of length 2 or so, as training has them.
    outputs = mlp(torch.randn(4, 200, 15), 2 * torch.randn(4, 128) / 128**0.5)
    assert 0 < float(outputs.detach().abs().mean()) < 0.025
    assert float(outputs.detach().abs().max()) < 0.1


def test_bfloat16_keeps_coordinates_and_outputs_in_full_precision() -> None:
    mlp, inputs = _mlp(2, 0).float(), INPUTS.float()
    with torch.no_grad():
        # What is left bypasses the products between hidden layers.
        for parameter in mlp.hidden[0].parameters():
            parameter.zero_()
    exact = mlp(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mlp(inputs), exact)
        assert torch.equal(mlp.forward_with_tape(inputs).value, exact)
        single = Mlp(7, 3, 12, 1)
        tape = single.forward_with_tape(inputs)
        slope = single.vjp(tape, torch.ones_like(tape.value))
    tape = single.forward_with_tape(inputs)
    torch.testing.assert_close(slope, single.vjp(tape, torch.ones_like(tape.value)), rtol=0, atol=0)


def test_bfloat16_is_close_to_full_precision() -> None:
    torch.manual_seed(0)
    encoding = Encoding(4)
    mlp = Mlp(encoding.width, 4, 128, 5, 8)
    points, condition = torch.rand(2, 200, 3) - 0.5, torch.randn(2, 8)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            tape = mlp.forward_with_tape(encoding(points).value, condition)
            slope = mlp.vjp(tape, torch.ones_like(tape.value))
            plain = mlp(encoding(points).value, condition)
        assert tape.value.dtype == slope.dtype == plain.dtype == torch.float32
        gradients = torch.autograd.grad(_of_slopes(tape.value, slope), [mlp.first.weight, *mlp.hidden[2].parameters()])
        results.append([value.detach() for value in (tape.value, plain, slope, *gradients)])
    # bfloat16 has 8 significant bits: 0.4 % per product, averaged over 128 of them in each of 4 layers.
    for exact, rough in zip(*results, strict=True):
        assert float((rough - exact).norm() / exact.norm()) < 0.03
        assert not torch.equal(rough, exact)


def test_normalised_weights_do_not_depend_on_the_directions_lengths() -> None:
    mlp = _mlp(4, kind="normalised")
    before = mlp(INPUTS, CONDITION)
    assert mlp.gains is not None
    with torch.no_grad():
        hidden_layer(mlp, 1).weight.mul_(3)  # the row goes on where the input enters again
        mlp.again.weight.mul_(3)
        mlp.last.weight.mul_(0.2)
        torch.testing.assert_close(mlp(INPUTS, CONDITION), before)
        mlp.gains[1].mul_(2)
    assert float((mlp(INPUTS, CONDITION) - before).detach().abs().max()) > 0.01
    mlp.match_gains()
    torch.testing.assert_close(mlp.fold(None).last, mlp.last.weight)
    torch.testing.assert_close(mlp.fold(None).again, mlp.again.weight)


# Fields with known answers


def test_sphere_and_box_are_exact_distances() -> None:
    ball, block = sphere((1.0, 0.0, 0.0), 0.5), box((0.0, 1.0, 0.0), (1.0, 2.0, 3.0))
    torch.testing.assert_close(
        ball(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 3.0, 4.0]])), torch.tensor([-0.5, 0.0, 4.5])
    )
    # Centre, near a face inside, beyond a face, beyond an edge (3-4-5), beyond a corner (1-2-2 -> 3).
    asked = [[0, 1, 0], [0.9, 1, 0], [2, 1, 0], [4, 7, 0], [2, 5, 5]]
    truth = torch.tensor([-1.0, -0.1, 1.0, 5.0, 3.0])
    torch.testing.assert_close(block(torch.tensor(asked, dtype=torch.float32)), truth)


def test_smooth_union_stays_within_its_bound() -> None:
    first, second, soft = sphere((-0.3, 0, 0), 0.4), sphere((0.3, 0, 0), 0.4), 0.05
    union = smooth_union(first, second, soft)
    points = _random(500, 3)
    lower = torch.minimum(first(points), second(points))
    assert bool((union(points) <= lower).all())
    assert bool((union(points) >= lower - soft * math.log(2) - 1e-12).all())
    seam = torch.tensor([[0.0, 0.2, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(union(seam), first(seam) - soft * math.log(2))


def test_field_of_a_shape_has_its_normals_and_colours() -> None:
    points = _random(50, 3)
    field = field_of(sphere((0, 0, 0), 0.5))
    at = field.surface(points)
    torch.testing.assert_close(at.gradient, nn.functional.normalize(points, dim=1))
    torch.testing.assert_close(at.sdf, field.sdf(points))
    colour = field.colour(points, at.normals, at.normals, at.feature)
    torch.testing.assert_close(colour, 0.5 + 0.5 * at.normals)
    red = field_of(sphere((0, 0, 0), 0.5), lambda points, normals, views, features: torch.ones_like(points) * 0.25)
    assert torch.equal(red.colour(points, at.normals, at.normals, at.feature), torch.full_like(points, 0.25))


def test_autograd_surface_is_differentiable_in_the_shape() -> None:
    radius = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    doubled = surface_by_autograd(lambda points: radius * points.square().sum(-1))(_random(10, 3))
    torch.testing.assert_close(doubled.gradient, _random(10, 3))
    (slope,) = torch.autograd.grad(doubled.gradient.sum(), radius)
    torch.testing.assert_close(slope, 2 * _random(10, 3).sum())
