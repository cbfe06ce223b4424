"""Encoding, networks and head field: written-out derivatives against autograd, values against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from protome.field.activation import Activation, activated, with_slope
from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.encoding import Encoding, progressive_weights
from protome.field.field import surface_by_autograd
from protome.field.head import HeadField, HeadFieldConfig
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


def _hidden(mlp: Mlp, layer: int) -> nn.Linear:
    linear = mlp.hidden[layer]
    assert isinstance(linear, nn.Linear)
    return linear


def _rows(mlp: Mlp) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """The weights of the first, the hidden, the skipping and the last layer, normalised by torch where they are so."""
    first, again, last = mlp.first.weight, mlp.again.weight, mlp.last.weight
    hidden: list[Tensor] = [_hidden(mlp, layer).weight for layer in range(len(mlp.hidden))]
    if mlp.gains is None:
        return first, hidden, again, last
    width, layer = len(first), (len(hidden) + 1) // 2 - 1
    hidden[layer] = torch.cat([hidden[layer], again], 1)
    gains = [gain[:, None] for gain in mlp.gains]
    first, *hidden, last = (
        torch._weight_norm(weight, gain) for weight, gain in zip([first, *hidden, last], gains, strict=True)
    )
    again = hidden[layer][:, width:]
    hidden[layer] = hidden[layer][:, :width]
    return first, hidden, again, last


def _plain(mlp: Mlp, inputs: Tensor, condition: Tensor | None) -> Tensor:
    """The same network without folding: a plain condition is concatenated with the inputs."""
    first, hidden_weights, again, last = _rows(mlp)
    entering, weights = inputs, [first, again]
    if mlp.condition is not None and condition is not None:
        entering = torch.cat([inputs, condition[:, None].expand(-1, inputs.shape[1], -1)], -1)
        weights = [torch.cat(pair, 1) for pair in zip(weights, mlp.condition.weight.chunk(2), strict=True)]
    depth = len(mlp.hidden) + 1

    def activated(linear: Tensor) -> Tensor:
        if mlp.activation == "softplus":
            return torch.logaddexp(100 * linear, torch.zeros_like(linear)) / 100
        return (linear + torch.hypot(linear, torch.tensor(0.02 * math.log(2)).to(linear))) / 2

    hidden = activated(entering @ weights[0].T + mlp.first.bias)
    for layer, linear in enumerate(mlp.hidden, 1):
        assert isinstance(linear, nn.Linear)
        if layer == depth // 2:
            joined = torch.cat([hidden, entering], -1)
            weight = torch.cat([hidden_weights[layer - 1], weights[1]], 1)
            hidden = activated(nn.functional.linear(joined, weight, linear.bias))
        else:
            hidden = activated(nn.functional.linear(hidden, hidden_weights[layer - 1], linear.bias))
    outputs = nn.functional.linear(hidden, last, mlp.last.bias)
    if mlp.steering is not None and condition is not None:
        # W_out(z) = W_0 + sum_k z_k A_k, and the same for its bias, in the first rows.
        parts = mlp.steering.weight.T.unflatten(1, (mlp.steered, -1))
        more = torch.einsum("sk,kow,snw->sno", condition, parts[..., :-1], hidden)
        more = more + torch.einsum("sk,ko->so", condition, parts[..., -1])[:, None]
        outputs = torch.cat([outputs[..., : mlp.steered] + more, outputs[..., mlp.steered :]], -1)
    return outputs


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
            _hidden(mlp, 0).weight.mul_(0.5)
    return mlp


INPUTS, CONDITION, COTANGENT = 0.3 * _random(2, 6, 7), _random(2, 5, seed=3), _random(2, 6, 3, seed=4)
# torch's SoftPlus turns linear where 100 x > 20, off by exp(-20); everything else agrees to rounding.
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_a_folded_condition_is_the_unfolded_condition(depth: int, kind: str) -> None:
    mlp = _mlp(depth, kind=kind)
    truth = _plain(mlp, INPUTS, CONDITION)
    torch.testing.assert_close(mlp(INPUTS, CONDITION), truth, **CLOSE)
    # Each scene has its own condition, and it matters.
    assert float((_plain(mlp, INPUTS, CONDITION.flip(0)) - truth).detach().abs().max()) > 0.01
    # Zero is no condition.
    torch.testing.assert_close(mlp(INPUTS, 0 * CONDITION), _plain(_without(mlp), INPUTS, None), **CLOSE)
    without = _mlp(depth, 0, kind)
    torch.testing.assert_close(without(INPUTS), _plain(without, INPUTS, None), **CLOSE)


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
    (truth,) = torch.autograd.grad(_plain(mlp, inputs, CONDITION), inputs, COTANGENT)
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
    value = _plain(mlp, inputs, condition)
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


# The head


def _config(deformed: bool = True) -> HeadFieldConfig:
    return HeadFieldConfig(
        deformed=deformed,
        latent=5, feature=4, deformation_width=16, deformation_depth=3, deformation_frequencies=2, reference_width=24,
        reference_depth=4, reference_frequencies=3, renderer_width=16, renderer_depth=3, renderer_frequencies=2,
        centre=(0.1, -0.2, -0.3), radius=0.5,
    )  # fmt: skip


def _head(deformed: bool = True) -> HeadField:
    torch.manual_seed(4)
    head = HeadField(_config(deformed)).double()
    with torch.no_grad():  # away from the start, where deformation and colours are flat
        if head.deformation is not None:
            head.deformation.last.weight.normal_(std=0.05)
        else:
            assert head.reference.condition is not None
            head.reference.condition.weight.normal_(std=0.3)
        head.renderer.last.weight.normal_(std=0.5)
        head.reference.first.weight.normal_(std=0.3)
    return head


POINTS, SHAPE, APPEARANCE = 0.5 * _random(2, 20, 3), _random(2, 5, seed=5), _random(2, 5, seed=6)


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_head_is_the_reference_after_the_deformation(alpha: float | None) -> None:
    head = _head()
    head.alpha = alpha
    at = head.query(POINTS, SHAPE)
    assert head.deformation is not None
    deformed = _plain(head.deformation, Encoding(2)(POINTS).value, SHAPE)
    torch.testing.assert_close(at.displacement, deformed[..., :3], **CLOSE)
    torch.testing.assert_close(at.feature, deformed[..., 3:], **CLOSE)
    torch.testing.assert_close(at.reference, POINTS + at.displacement)
    centred = POINTS + deformed[..., :3] - torch.tensor([0.1, -0.2, -0.3], dtype=torch.float32).double()
    truth = _plain(head.reference, Encoding(3, alpha)(centred).value, None)[..., 0]
    torch.testing.assert_close(at.sdf, truth, **CLOSE)
    torch.testing.assert_close(head.sdf(POINTS, SHAPE), at.sdf)
    assert float(at.displacement.detach().abs().max()) > 0.01


@pytest.mark.parametrize("deformed", [True, False])
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_head_gradient_is_autograds(alpha: float | None, deformed: bool) -> None:
    head, points = _head(deformed), POINTS.clone().requires_grad_(True)
    head.alpha = alpha
    (truth,) = torch.autograd.grad(head.sdf(points, SHAPE).sum(), points)
    torch.testing.assert_close(head.query(POINTS, SHAPE).gradient, truth, **CLOSE)


@pytest.mark.parametrize("deformed", [True, False])
def test_values_without_gradient_are_the_same_values(deformed: bool) -> None:
    head = _head(deformed)
    with_gradient, without = head.query(POINTS, SHAPE), head.values(POINTS, SHAPE)
    for key in ("sdf", "displacement", "reference", "feature"):
        torch.testing.assert_close(getattr(without, key), getattr(with_gradient, key))
    torch.testing.assert_close(head.displacement(POINTS, SHAPE), without.displacement)


def test_without_a_deformation_the_latent_enters_the_distance() -> None:
    head, centre = _head(deformed=False), torch.tensor([0.1, -0.2, -0.3], dtype=torch.float32).double()
    assert head.deformation is None
    assert head.shape_network is head.reference
    at = head.query(POINTS, SHAPE)
    truth = _plain(head.reference, Encoding(3)(POINTS - centre).value, SHAPE)
    torch.testing.assert_close(at.sdf, truth[..., 0], **CLOSE)
    torch.testing.assert_close(at.feature, truth[..., 1:], **CLOSE)
    assert torch.equal(at.reference, POINTS)
    assert float(at.displacement.abs().max()) == 0
    assert float((head.sdf(POINTS, SHAPE.flip(0)) - at.sdf).detach().abs().max()) > 0.01


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


def test_a_baked_reference_gives_rough_distances_for_any_latent() -> None:
    torch.manual_seed(4)
    head, bounds = HeadField(HeadFieldConfig()).double(), torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]).double()
    assert head.deformation is not None
    with torch.no_grad():
        head.deformation.last.weight.normal_(std=0.02)
    latents = _random(2, head.config.latent, seed=6)
    field = head.bind(latents[0], latents[0])
    assert field.search is field.sdf
    errors = {}
    for step in (0.1, 0.05):
        baked = head.baked_reference(bounds, step)
        assert baked is not None
        other = head.bind(latents[1], latents[1], baked)
        assert other.search is other.rough
        points = 2 * torch.rand(30_000, 3, generator=torch.Generator().manual_seed(5)).double() - 1
        with torch.no_grad():
            exact, rough = other.sdf(points), other.search(points)
        near = exact.abs() < step
        assert near.sum() > 20
        assert head.baked_reference(bounds, step) is baked
        errors[step] = float((exact - rough)[near].abs().max())
    # What is interpolated linearly is off by the square of the step.
    assert errors[0.05] < 0.5 * errors[0.1] < 0.5 * 0.1 * 0.5
    with torch.no_grad():
        head.reference.last.bias.add_(0.1)
    changed = head.baked_reference(bounds, 0.05)
    assert changed is not None
    assert baked is not None
    assert float(changed.values.mean() - baked.values.mean()) == pytest.approx(0.1, abs=0.01)
    assert _head(deformed=False).baked_reference(bounds, 0.1) is None


@pytest.mark.parametrize("deformed", [True, False])
def test_untrained_head_is_about_its_sphere(deformed: bool) -> None:
    config, alike, sides = HeadFieldConfig(deformed=deformed), [], []
    for seed in range(32):
        torch.manual_seed(seed)
        points, latent = torch.rand(1, 500, 3) * 2 - 1, torch.randn(1, config.latent) / config.latent**0.5
        with torch.no_grad():
            at = HeadField(config).query(points, latent)
        assert float(at.displacement.abs().max()) < 0.05
        truth = (at.reference - torch.tensor(config.centre)).norm(dim=-1) - config.radius
        alike.append(torch.corrcoef(torch.stack([at.sdf[0], truth[0]]))[0, 1])
        sides.append(((at.sdf > 0) == (truth > 0)).double().mean())
    # One narrow network is a sphere that is stretched by a sixth or so.
    assert float(torch.stack(alike).mean()) > 0.85
    assert float(torch.stack(sides).mean()) > 0.89


IDR = HeadFieldConfig(
    latent=0, feature=256, deformed=False, activation="softplus", weight_norm=True,
    reference_width=512, reference_depth=8, reference_frequencies=6,
    renderer_width=512, renderer_depth=4, renderer_frequencies=0, view_frequencies=4,
    centre=(0.0, 0.0, 0.0), radius=0.6,
)  # fmt: skip
"""The networks of IDR: 8 x 512 and 4 x 512, 256 features, no latents, 6 frequencies of the point, 4 of the view."""


def test_idrs_networks_have_its_sizes() -> None:
    head = HeadField(IDR)
    # Input 3 + 3 * 2 * 6 = 39; seven hidden products; the input once more; 1 + 256 outputs; a gain for each row.
    distance = (39 * 512 + 512) + 7 * (512 * 512 + 512) + 39 * 512 + (512 * 257 + 257) + (8 * 512 + 257)
    assert sum(one.numel() for one in head.reference.parameters()) == distance == 2_015_234
    # Point 3, normal 3, view 3 + 3 * 2 * 4 = 27, feature 256: 289 inputs.
    colour = (289 * 512 + 512) + 3 * (512 * 512 + 512) + 289 * 512 + (512 * 3 + 3) + (4 * 512 + 3)
    assert sum(one.numel() for one in head.renderer.parameters()) == colour == 1_088_006
    assert sum(one.numel() for one in head.parameters()) == distance + colour
    assert head.reference.skip == 4


def test_idrs_networks_start_as_a_sphere_and_have_their_derivatives() -> None:
    torch.manual_seed(0)
    head, nothing = HeadField(IDR).double(), torch.zeros(0).double()
    points = 2 * torch.rand(40, 3, generator=torch.Generator().manual_seed(2)).double() - 1
    views = nn.functional.normalize(_random(40, 3, seed=3), dim=-1)
    field = head.bind(nothing, nothing)
    at, truth = field.surface(points), points.norm(dim=1) - 0.6
    # One draw of eight layers is off by about |x| sqrt(8 / 512).
    assert float(torch.corrcoef(torch.stack([at.sdf.detach(), truth]))[0, 1]) > 0.9
    assert float(nn.functional.cosine_similarity(at.gradient.detach(), points, dim=1).mean()) > 0.9
    torch.manual_seed(0)
    plain = HeadField(replace(IDR, weight_norm=False)).double().bind(nothing, nothing)
    torch.testing.assert_close(at.sdf, plain.sdf(points), rtol=1e-5, atol=1e-6)

    def value() -> Tensor:
        bound = head.bind(nothing, nothing)
        at = bound.surface(points)
        colour = bound.colour(points, at.normals, views, at.feature)
        return at.sdf.sin().mean() + ((at.gradient.norm(dim=1) - 1) ** 2).mean() + 100 * colour.square().mean()

    assert head.reference.gains is not None
    assert head.renderer.gains is not None
    moved = [
        head.reference.gains[3], head.reference.hidden[3].weight, head.reference.again.weight,
        head.reference.last.weight, head.renderer.gains[1], head.renderer.hidden[0].weight,
    ]  # fmt: skip
    slopes = torch.autograd.grad(value(), moved)
    for index, (weight, slope) in enumerate(zip(moved, slopes, strict=True)):
        way = _random(*weight.shape, seed=20 + index)
        way = way / way.norm() + slope / slope.norm()
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.add_(step * way)
            values.append(float(value().detach()))
            with torch.no_grad():
                weight.sub_(step * way)
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float((slope * way).sum()), rel=1e-4), index


def test_normalised_weights_do_not_depend_on_the_directions_lengths() -> None:
    mlp = _mlp(4, kind="normalised")
    before = mlp(INPUTS, CONDITION)
    assert mlp.gains is not None
    with torch.no_grad():
        _hidden(mlp, 1).weight.mul_(3)  # the row goes on where the input enters again
        mlp.again.weight.mul_(3)
        mlp.last.weight.mul_(0.2)
        torch.testing.assert_close(mlp(INPUTS, CONDITION), before)
        mlp.gains[1].mul_(2)
    assert float((mlp(INPUTS, CONDITION) - before).detach().abs().max()) > 0.01
    mlp.match_gains()
    torch.testing.assert_close(mlp.fold(None).last, mlp.last.weight)
    torch.testing.assert_close(mlp.fold(None).again, mlp.again.weight)


def test_finer_colour_leaves_a_normalised_renderer_as_it_was() -> None:
    torch.manual_seed(0)
    head, nothing = HeadField(replace(IDR, renderer_width=32, reference_width=32)), torch.zeros(1, 0)
    finer = head.with_finer_colour(2)
    points, normals, views = nn.functional.normalize(_random(3, 1, 9, 3), dim=-1).float()
    feature = _random(1, 9, 256, seed=2).float()
    torch.testing.assert_close(
        finer.colour(points, normals, views, feature, nothing), head.colour(points, normals, views, feature, nothing)
    )
    assert finer.config.renderer_frequencies == 2


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
