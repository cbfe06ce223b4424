"""The head field: values by their definition, written-out derivatives against autograd, and IDR's own networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from networks import CLOSE, plain
from protome.field.encoding import Encoding
from protome.field.head import HeadField, HeadFieldConfig

POINT = [0.3, -0.7, 0.2]


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    deformed = plain(head.deformation, Encoding(2)(POINTS).value, SHAPE)
    torch.testing.assert_close(at.displacement, deformed[..., :3], **CLOSE)
    torch.testing.assert_close(at.feature, deformed[..., 3:], **CLOSE)
    torch.testing.assert_close(at.reference, POINTS + at.displacement)
    centred = POINTS + deformed[..., :3] - torch.tensor([0.1, -0.2, -0.3], dtype=torch.float32).double()
    truth = plain(head.reference, Encoding(3, alpha)(centred).value, None)[..., 0]
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
    truth = plain(head.reference, Encoding(3)(POINTS - centre).value, SHAPE)
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
    truth = torch.sigmoid(plain(head.renderer, torch.cat(inputs, -1), APPEARANCE))
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


# Expressions


NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R")


def _expressive(deformed: bool) -> HeadField:
    torch.manual_seed(4)
    head = HeadField(replace(_config(deformed), expression=NAMES, expression_width=6)).double()
    with torch.no_grad():
        head.shape_network.last.weight.normal_(std=0.1)
        if head.deformation is None:
            assert head.reference.condition is not None
            head.reference.condition.weight.normal_(std=0.3)
    return head


@pytest.mark.parametrize("deformed", [True, False])
def test_a_neutral_head_is_exactly_unaffected_by_the_map_of_the_coefficients(deformed: bool) -> None:
    head, zero = _expressive(deformed), torch.zeros(2, 3, dtype=torch.float64)
    neutral = head.query(POINTS, SHAPE)
    assert torch.equal(head.query(POINTS, head.shape_condition(SHAPE, zero)).sdf, neutral.sdf)
    weights = _random(2, 3, seed=9)
    moved = head.query(POINTS, head.shape_condition(SHAPE, weights))
    assert float((moved.sdf - neutral.sdf).abs().max().detach()) > 1e-3
    with torch.no_grad():
        assert head.expression is not None
        head.expression.weight.normal_(std=7.0)
    assert torch.equal(head.query(POINTS, SHAPE).sdf, neutral.sdf)
    assert not torch.equal(head.query(POINTS, head.shape_condition(SHAPE, weights)).sdf, moved.sdf)


def test_a_bound_head_has_its_expression() -> None:
    head, weights = _expressive(True), _random(3, seed=9)
    condition = head.shape_condition(SHAPE[:1], weights[None])
    field = head.bind(SHAPE[0], APPEARANCE[0], None, weights)
    torch.testing.assert_close(field.sdf(POINTS[0]), head.sdf(POINTS[:1], condition)[0], **CLOSE)
    torch.testing.assert_close(
        field.surface(POINTS[0]).gradient, head.query(POINTS[:1], condition).gradient[0], **CLOSE
    )
    plain_field = head.bind(SHAPE[0], APPEARANCE[0])
    torch.testing.assert_close(plain_field.sdf(POINTS[0]), head.sdf(POINTS[:1], SHAPE[:1])[0], **CLOSE)


def test_fields_without_expressions_draw_the_weights_that_they_drew_before() -> None:
    torch.manual_seed(4)
    first = HeadField(_config())
    torch.manual_seed(4)
    again = HeadField(replace(_config(), expression_width=99))
    assert first.expression is None
    assert list(first.state_dict()) == list(again.state_dict())
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    condition = first.shape_condition(SHAPE.float())
    assert torch.equal(condition, SHAPE.float())
