"""Encoding, networks and head field: written-out derivatives against autograd, values against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.encoding import Encoding, progressive_weights
from protome.field.field import surface_by_autograd
from protome.field.head import HeadField, HeadFieldConfig
from protome.field.mlp import Mlp, initialise_small, initialise_sphere

POINT = [0.3, -0.7, 0.2]


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
def test_encoding_pullback_is_autograds(alpha: float | None) -> None:
    encoding = Encoding(4, alpha)
    points = _random(2, 5, 3).requires_grad_(True)
    cotangent = _random(2, 5, encoding.width, seed=2).requires_grad_(True)
    encoded = encoding(points)
    (truth,) = torch.autograd.grad(encoded.value, points, cotangent, retain_graph=True)
    torch.testing.assert_close(encoding.pullback(encoded, cotangent), truth)
    assert torch.autograd.gradcheck(lambda x: encoding(x).value, points)
    assert torch.autograd.gradcheck(lambda x, c: encoding.pullback(encoding(x), c), (points, cotangent))


# Networks


def _plain(mlp: Mlp, inputs: Tensor, condition: Tensor | None) -> Tensor:
    """The same network the long way: the condition is joined to the inputs, at the first and at the skip layer."""
    weights = [mlp.first.weight, mlp.again.weight]
    if mlp.condition is not None and condition is not None:
        inputs = torch.cat([inputs, condition[:, None].expand(-1, inputs.shape[1], -1)], -1)
        weights = [torch.cat(pair, 1) for pair in zip(weights, mlp.condition.weight.chunk(2), strict=True)]

    def softplus(x: Tensor) -> Tensor:
        return torch.logaddexp(100 * x, torch.zeros_like(x)) / 100

    hidden = softplus(inputs @ weights[0].T + mlp.first.bias)
    for number, linear in enumerate(mlp.hidden, 2):
        if number == (len(mlp.hidden) + 1) // 2 + 1:
            hidden = softplus(nn.functional.linear(torch.cat([hidden, inputs], -1),
                                                   torch.cat([linear.weight, weights[1]], 1), linear.bias))  # fmt: skip
        else:
            hidden = softplus(linear(hidden))
    return mlp.last(hidden)


def _mlp(depth: int = 4, condition: int = 5) -> Mlp:
    torch.manual_seed(depth)
    mlp = Mlp(7, 3, 12, depth, condition).double()
    with torch.no_grad():  # weights this large bring SoftPlus into its curved part and out of it
        for parameter in mlp.parameters():
            parameter.mul_(1.5)
    return mlp


INPUTS, CONDITION, COTANGENT = 0.3 * _random(2, 6, 7), _random(2, 5, seed=3), _random(2, 6, 3, seed=4)
# torch's SoftPlus turns linear where 100 x > 20, off by exp(-20); everything else agrees to rounding.
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_folded_condition_is_a_joined_input(depth: int) -> None:
    mlp = _mlp(depth)
    torch.testing.assert_close(mlp(INPUTS, CONDITION), _plain(mlp, INPUTS, CONDITION), **CLOSE)
    without = _mlp(depth, 0)
    torch.testing.assert_close(without(INPUTS), _plain(without, INPUTS, None), **CLOSE)


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_record_and_pullback_are_forward_and_autograd(depth: int) -> None:
    mlp = _mlp(depth)
    inputs = INPUTS.clone().requires_grad_(True)
    tape = mlp.record(inputs, CONDITION)
    assert torch.equal(tape.value, mlp(inputs, CONDITION))
    (truth,) = torch.autograd.grad(_plain(mlp, inputs, CONDITION), inputs, COTANGENT)
    torch.testing.assert_close(mlp.pullback(tape, COTANGENT), truth, **CLOSE)


def _of_slopes(value: Tensor, slope: Tensor) -> Tensor:
    """Any scalar that depends on outputs and on input gradients, as the eikonal loss does."""
    return ((slope.norm(dim=-1) - 1) ** 2).mean() + value.sin().mean()


def test_parameter_gradients_through_the_pullback_are_autograds_double_backward() -> None:
    mlp, condition = _mlp(), CONDITION.clone().requires_grad_(True)
    inputs = INPUTS.clone().requires_grad_(True)
    wanted = {"inputs": inputs, "condition": condition, **dict(mlp.named_parameters())}
    tape = mlp.record(inputs, condition)
    own = torch.autograd.grad(
        _of_slopes(tape.value, mlp.pullback(tape, COTANGENT)), list(wanted.values()), allow_unused=True
    )
    value = _plain(mlp, inputs, condition)
    (slope,) = torch.autograd.grad(value, inputs, COTANGENT, create_graph=True)
    truth = torch.autograd.grad(_of_slopes(value, slope), list(wanted.values()))
    for name, ours, theirs in zip(wanted, own, truth, strict=True):
        assert float(theirs.abs().max()) > 1e-4, name
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_pullback_passes_gradcheck() -> None:
    mlp, inputs = _mlp(3), INPUTS[:, :2].clone().requires_grad_(True)
    cotangent = COTANGENT[:, :2]
    assert torch.autograd.gradcheck(lambda x: mlp.pullback(mlp.record(x, CONDITION), cotangent), inputs, eps=1e-7)


def test_wide_networks_start_as_spheres() -> None:
    encoding, points = Encoding(6), torch.rand(1, 400, 3) * 2 - 1
    truth = points[0].norm(dim=1) - 0.6
    errors, cosines = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        mlp = Mlp(encoding.width, 1, 512, 5)
        initialise_sphere(mlp, 0.6)
        with torch.no_grad():
            encoded = encoding(points)
            tape = mlp.record(encoded.value)
            gradient = encoding.pullback(encoded, mlp.pullback(tape, torch.ones_like(tape.value)))[0]
        errors.append(tape.value[0, :, 0] - truth)
        cosines.append(nn.functional.cosine_similarity(gradient, points[0], dim=1))
    # The expectation over the weights is |x| - r; one draw is off by about |x| sqrt(layers / width) = 0.1.
    error, cosine = torch.stack(errors), torch.stack(cosines)
    assert float(error.mean(0).abs().mean()) < 0.08
    assert float(error.abs().mean()) < 0.13
    assert float(cosine.mean()) > 0.96


def test_small_start_gives_small_outputs_whatever_the_condition() -> None:
    torch.manual_seed(0)
    mlp = Mlp(15, 4, 192, 5, 128)
    initialise_small(mlp)
    outputs = mlp(torch.randn(4, 200, 15), torch.randn(4, 128))
    assert 0 < float(outputs.detach().abs().max()) < 0.05


def test_bfloat16_keeps_coordinates_and_outputs_in_full_precision() -> None:
    mlp, inputs = _mlp(2, 0).float(), INPUTS.float()
    with torch.no_grad():
        # What is left bypasses the products between hidden layers.
        mlp.hidden[0].weight.zero_()
        mlp.hidden[0].bias.zero_()
    exact = mlp(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mlp(inputs), exact)
        assert torch.equal(mlp.record(inputs).value, exact)
        single = Mlp(7, 3, 12, 1)
        tape = single.record(inputs)
        slope = single.pullback(tape, torch.ones_like(tape.value))
    tape = single.record(inputs)
    torch.testing.assert_close(slope, single.pullback(tape, torch.ones_like(tape.value)), rtol=0, atol=0)


def test_bfloat16_is_close_to_full_precision() -> None:
    torch.manual_seed(0)
    encoding = Encoding(4)
    mlp = Mlp(encoding.width, 4, 128, 5, 8)
    points, condition = torch.rand(2, 200, 3) - 0.5, torch.randn(2, 8)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            tape = mlp.record(encoding(points).value, condition)
            slope = mlp.pullback(tape, torch.ones_like(tape.value))
            plain = mlp(encoding(points).value, condition)
        assert tape.value.dtype == slope.dtype == plain.dtype == torch.float32
        gradients = torch.autograd.grad(_of_slopes(tape.value, slope), [mlp.first.weight, mlp.hidden[2].weight])
        results.append([value.detach() for value in (tape.value, plain, slope, *gradients)])
    # bfloat16 has 8 significant bits: 0.4 % per product, averaged over 128 of them in each of 4 layers.
    for exact, rough in zip(*results, strict=True):
        assert float((rough - exact).norm() / exact.norm()) < 0.03
        assert not torch.equal(rough, exact)


# The head


def _config() -> HeadFieldConfig:
    return HeadFieldConfig(
        latent=5, feature=4, deformation_width=16, deformation_depth=3, deformation_frequencies=2, reference_width=24,
        reference_depth=4, reference_frequencies=3, renderer_width=16, renderer_depth=3, renderer_frequencies=2,
        centre=(0.1, -0.2, -0.3), radius=0.5,
    )  # fmt: skip


def _head() -> HeadField:
    torch.manual_seed(4)
    head = HeadField(_config()).double()
    with torch.no_grad():  # away from the start, where deformation and colours are flat
        head.deformation.last.weight.normal_(std=0.05)
        head.renderer.last.weight.normal_(std=0.5)
        head.reference.first.weight.normal_(std=0.3)
    return head


POINTS, SHAPE, APPEARANCE = 0.5 * _random(2, 20, 3), _random(2, 5, seed=5), _random(2, 5, seed=6)


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_head_is_the_reference_after_the_deformation(alpha: float | None) -> None:
    head = _head()
    head.alpha = alpha
    at = head.query(POINTS, SHAPE)
    deformed = _plain(head.deformation, Encoding(2)(POINTS).value, SHAPE)
    torch.testing.assert_close(at.displacement, deformed[..., :3], **CLOSE)
    torch.testing.assert_close(at.feature, deformed[..., 3:], **CLOSE)
    torch.testing.assert_close(at.reference, POINTS + at.displacement)
    centred = POINTS + deformed[..., :3] - torch.tensor([0.1, -0.2, -0.3], dtype=torch.float32).double()
    truth = _plain(head.reference, Encoding(3, alpha)(centred).value, None)[..., 0]
    torch.testing.assert_close(at.sdf, truth, **CLOSE)
    torch.testing.assert_close(head.sdf(POINTS, SHAPE), at.sdf)
    assert float(at.displacement.detach().abs().max()) > 0.01


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_head_gradient_is_autograds(alpha: float | None) -> None:
    head, points = _head(), POINTS.clone().requires_grad_(True)
    head.alpha = alpha
    (truth,) = torch.autograd.grad(head.sdf(points, SHAPE).sum(), points)
    torch.testing.assert_close(head.query(POINTS, SHAPE).gradient, truth, **CLOSE)


def test_colour_is_the_renderer_at_the_reference_point() -> None:
    head, at = _head(), _head().query(POINTS, SHAPE)
    normals, views = (nn.functional.normalize(_random(2, 20, 3, seed=seed), dim=-1) for seed in (7, 8))
    centre = torch.tensor([0.1, -0.2, -0.3], dtype=torch.float32).double()
    inputs = [Encoding(2)(at.reference - centre).value, normals, Encoding(2)(views).value, at.feature]
    truth = torch.sigmoid(_plain(head.renderer, torch.cat(inputs, -1), APPEARANCE))
    colour = head.colour(at.reference, normals, views, at.feature, APPEARANCE)
    torch.testing.assert_close(colour, truth, **CLOSE)
    assert float(colour.detach().std()) > 0.05


def test_bound_field_agrees_with_batched_calls() -> None:
    head, at = _head(), _head().query(POINTS, SHAPE)
    views = nn.functional.normalize(_random(2, 20, 3, seed=8), dim=-1)
    normals = nn.functional.normalize(at.gradient, dim=-1)
    colours = head.colour(at.reference, normals, views, at.feature, APPEARANCE)
    for scene in range(2):
        z = SHAPE[scene].clone().requires_grad_(True)
        field = head.bind(z, APPEARANCE[scene])
        found = field.surface(POINTS[scene])
        torch.testing.assert_close(field.sdf(POINTS[scene]), at.sdf[scene])
        torch.testing.assert_close(found.sdf, at.sdf[scene])
        torch.testing.assert_close(found.gradient, at.gradient[scene])
        torch.testing.assert_close(found.normals, normals[scene])
        colour = field.colour(POINTS[scene], found.normals, views[scene], found.feature)
        torch.testing.assert_close(colour, colours[scene])
        assert float(torch.autograd.grad(colour.sum(), z)[0].abs().max()) > 0


def test_untrained_head_is_about_its_sphere() -> None:
    config = HeadFieldConfig()
    with torch.no_grad():
        at = HeadField(config).query(torch.rand(1, 500, 3) * 2 - 1, torch.randn(1, 128))
    assert float(at.displacement.abs().max()) < 0.05
    truth = (at.reference - torch.tensor(config.centre)).norm(dim=-1) - config.radius
    # One narrow network is a sphere that is stretched by a sixth or so.
    assert float(torch.corrcoef(torch.stack([at.sdf[0], truth[0]]))[0, 1]) > 0.9
    assert float(((at.sdf > 0) == (truth > 0)).double().mean()) > 0.85


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
