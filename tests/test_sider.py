"""Facial detail: the coarse distance, the two networks, the shape recovered from shading, and the files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import protome.sider.fit
import protome.sider.pipeline
from detail import LEAST_MM, HeightErrors, height_along_rays
from patches import cap, lit, plane, ridge
from protome.capture.skin import eyes_closed, skin_mask
from protome.cli_outputs import DETAIL_FILES
from protome.errors import InputError, ProtomeWarning
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh
from protome.field.field import Field, SurfacePoints, mean_field
from protome.geometry.align import Surface
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.refine import refine, refine_alike
from protome.morphable.linear import load_builtin
from protome.morphable.loader import load_model
from protome.portrait import save_portrait
from protome.render.trace import Span, sphere_tracer
from protome.scene import View
from protome.sider.coarse import CoarseConfig, DistanceSamples, fit_coarse
from protome.sider.displace import FADE_MM, displace, zero_along
from protome.sider.field import DetailField, DetailFieldConfig
from protome.sider.fit import DETAIL_PRESETS, DetailConfig, FacePixels, Hits, fit_detail
from protome.sider.maps import bake
from protome.sider.outputs import save_detail
from protome.sider.pipeline import CoarseFace, recover_detail
from protome.sider.thick import ThickSurface, vertex_normals
from protome.units import UNIT_MM
from protome.util.progress import Step

SMALL = DetailFieldConfig(width=32, depth=2, frequencies=4, features=4, renderer_width=24, renderer_depth=2)


# The coarse distance


def test_a_thick_plane_has_the_distance_of_a_slab() -> None:
    layer = ThickSurface.behind(plane(), 0.2)
    heights = np.linspace(-0.4, 0.5, 19)
    points = np.stack([np.full(19, 0.13), np.full(19, -0.21), heights], 1)
    np.testing.assert_allclose(layer.distance(points), np.abs(heights + 0.1) - 0.1, atol=1e-12)
    off = np.abs(heights + 0.1) > 1e-9
    np.testing.assert_array_equal(layer.before(points)[off], (heights > -0.1)[off])


def test_a_thick_cap_has_the_distance_of_a_shell() -> None:
    directions = cap(1.0, 12, 0.4).vertices
    layer = ThickSurface.behind(cap(1.0, 61), 0.1)
    for radius in (0.85, 0.93, 1.0, 1.1):
        found = layer.distance(radius * directions)
        np.testing.assert_allclose(found, abs(radius - 0.95) - 0.05, atol=4e-4)


def test_beyond_the_rim_the_layer_ends_round() -> None:
    layer = ThickSurface.behind(plane(), 0.2)
    found = layer.distance(np.array([[1.3, 0.0, 0.3]]))
    np.testing.assert_allclose(found, np.hypot(0.3, 0.4) - 0.1, atol=1e-12)


def test_a_network_learns_the_coarse_distance() -> None:
    face, config = cap(0.5), CoarseConfig(points=8000, steps=250, batch=256)
    torch.manual_seed(0)
    field = DetailField(SMALL, torch.tensor([0.0, 0.0, 0.45]))
    around = DistanceSamples.of(face, config)
    missed = fit_coarse(field, torch.Generator().manual_seed(0), around, config, lambda *_: None)
    assert missed * UNIT_MM < 0.5
    with torch.no_grad():
        outside = field.sdf(torch.tensor([[0.0, 0.0, 0.52], [0.0, 0.0, 0.495]]))
    assert float(outside[0]) > 0 > float(outside[1])


# The networks


def doubled() -> DetailField:
    """Return a field in double precision that is no sphere any more."""
    torch.manual_seed(3)
    field = DetailField(SMALL, torch.tensor([0.1, 0.0, 0.0])).double()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return field


def test_the_gradient_is_that_of_the_distance() -> None:
    field = doubled()
    points = (0.3 * torch.randn(20, 3).double()).requires_grad_(True)
    (wanted,) = torch.autograd.grad(field.sdf(points).sum(), points)
    at = field.surface(points)
    torch.testing.assert_close(at.gradient, wanted)
    torch.testing.assert_close(at.sdf, field.sdf(points))


def test_a_mean_of_fields_has_the_mean_of_all_outputs() -> None:
    first, second = doubled(), doubled()
    torch.nn.init.normal_(second.geometry.last.weight, std=0.05)
    torch.nn.init.normal_(second.renderer.paint.last.weight)
    points, views = torch.randn(2, 7, 3).double().unbind(0)
    mean, both = mean_field([first.bind(), second.bind()]), (first, second)
    at = mean.surface(points)
    own = [field.surface(points) for field in both]
    torch.testing.assert_close(at.sdf, (own[0].sdf + own[1].sdf) / 2)
    torch.testing.assert_close(mean.sdf(points), at.sdf)
    torch.testing.assert_close(at.gradient, (own[0].gradient + own[1].gradient) / 2)
    colours = [field.colour(points, at.normals, views, alone.feature) for field, alone in zip(both, own, strict=True)]
    torch.testing.assert_close(mean.colour(points, at.normals, views, at.feature), (colours[0] + colours[1]) / 2)
    assert float((own[0].sdf - own[1].sdf).detach().abs().min()) > 0
    assert float((colours[0] - colours[1]).detach().abs().min()) > 0


@pytest.mark.parametrize("preset", DETAIL_PRESETS)
def test_presets_remove_the_inputs_that_they_name(preset: str) -> None:
    config = DETAIL_PRESETS[preset].networks
    field = DetailField(config, torch.zeros(3))
    points, normals, views = torch.randn(3, 8, 3).unbind(0)
    feature = torch.randn(8, config.features)
    before = field.colour(points, normals, views, feature)
    assert torch.equal(before, field.colour(points, -normals, views, feature)) == (not config.normal)
    assert torch.equal(before, field.colour(points, normals, views, -feature)) == (not config.feature)
    assert (config.feature, config.normal) == {
        "sider": (True, True), "without-feature": (False, True), "without-normal": (True, False),
        "without-both": (False, False),
    }[preset]  # fmt: skip


def test_shading_is_one_function_for_all_points() -> None:
    field = doubled()
    torch.nn.init.normal_(field.renderer.paint.last.weight)
    assert field.renderer.shade is not None
    torch.nn.init.normal_(field.renderer.shade.last.weight)
    points, normals, views = torch.nn.functional.normalize(torch.randn(3, 9, 3).double(), dim=-1).unbind(0)
    feature = torch.randn(9, SMALL.features).double()
    turned = field.colour(points, normals.flip(0), views, feature) / field.colour(points, normals, views, feature)
    here = [one[:1].expand(9, -1) for one in (points, views, feature)]
    once = field.colour(here[0], normals.flip(0), *here[1:]) / field.colour(here[0], normals, *here[1:])
    torch.testing.assert_close(once, turned)
    assert float((turned.detach() - 1).abs().max()) > 0.01


def test_a_pixels_derivative_by_the_weights_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protome.sider.fit, "_REACH", 1.0)  # a ball of which no coarse face is known
    field = doubled()
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 2.0]).double(), torch.zeros(3).double(), 40.0, 8, 8)
    rays = camera.rays(torch.tensor([[4.3, 3.6], [3.1, 4.4]]).double())
    span, both = Span(torch.full((2,), 0.5).double(), torch.full((2,), 3.0).double()), torch.arange(2)
    pixels = FacePixels(rays, torch.zeros(2, 3).double(), span.far / 2, torch.ones(2, dtype=torch.bool))

    def new_hits() -> Hits:
        hits = Hits(pixels)
        with torch.no_grad():
            trace = sphere_tracer(200, 0.5)(field.sdf, rays, span)
        assert bool(trace.hit.all())
        hits.depth = trace.depth
        for _ in range(5):
            hits.intersect(field, both)
        return hits

    asked = rays.at(new_hits().depth)

    def pixel(points: torch.Tensor) -> torch.Tensor:
        # Normals and features are those at the evaluated points, wherever the surface moves.
        at = field.surface(asked)
        return field.colour(points, at.normals, rays.directions, at.feature).sum()

    geometry = field.geometry
    for weight in (next(geometry.hidden[0].parameters()), geometry.last.bias, field.renderer.paint.first.weight):
        points, normals, features = new_hits().intersect(field, both)
        (found,) = torch.autograd.grad(field.colour(points, normals, rays.directions, features).sum(), weight)
        place = int(found.flatten().abs().argmax())
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[place] += sign * step
                values.append(float(pixel(rays.at(new_hits().depth))))
                weight.view(-1)[place] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert float(found.flatten()[place]) == pytest.approx(difference, rel=2e-3)


# The shape recovered from shading


COARSE, FINE = cap(0.4, 41, 0.6), cap(0.4, 161, 0.6)
CAMERA = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, 0.4]), 303.0, 56, 56)
QUICK = DetailConfig(
    replace(
        DetailFieldConfig(), width=48, depth=2, frequencies=6, coarse_frequencies=4, renderer_width=32, renderer_depth=2
    ),
    CoarseConfig(points=12_000, steps=300, batch=256), starts=1, epochs=36, renderer_epochs=15, batch=128,
    geometry_rate=3e-4, prior=45.0, prior_points=128, retrace=12,
)  # fmt: skip


def test_shading_recovers_detail_beyond_the_coarse_shell() -> None:
    assert FINE.normals is not None
    height = ridge(FINE.normals, 0.004)
    truth = Mesh(FINE.vertices + height[:, None] * FINE.normals, FINE.faces)
    fit = fit_detail(COARSE, lit(COARSE, truth, CAMERA), QUICK, seed=0, quiet=True)
    directions = torch.from_numpy(FINE.normals).float()
    found = zero_along(fit.bind().sdf, torch.from_numpy(FINE.vertices).float(), directions).numpy()
    ridged = np.abs(height) > 0.001
    # The coarse shell itself has an error of 1 in this measure.
    assert np.median(np.abs(found - height)[ridged]) < 0.8 * np.median(np.abs(height)[ridged])
    assert np.corrcoef(found[ridged], height[ridged])[0, 1] > 0.6


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let fits run side by side wherever the tests run."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_parallel_fits_start_differently_and_follow_from_the_seed() -> None:
    pixels = lit(COARSE, FINE, CAMERA)
    config = replace(QUICK, coarse=replace(QUICK.coarse, points=2000, steps=5), starts=2, epochs=2, renderer_epochs=0)
    points = torch.from_numpy(FINE.vertices[::50]).float()
    with torch.no_grad():
        one, again, other = (
            [field.sdf(points) for field in fit_detail(COARSE, pixels, config, seed=seed, quiet=True).fields]
            for seed in (0, 0, 1)
        )
    torch.testing.assert_close(torch.stack(one), torch.stack(again))
    assert float((one[0] - one[1]).abs().max()) > 1e-4
    assert float((one[0] - other[0]).abs().max()) > 1e-4


@pytest.mark.usefixtures("two_threads")
def test_an_interrupted_fit_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*args: object, step: Step, **rest: object) -> float:
        calls.append(0)
        if len(calls) == 1:
            raise KeyboardInterrupt
        while True:  # ends, because its progress callback raises
            step()

    monkeypatch.setattr(protome.sider.fit, "fit_coarse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_detail(COARSE, lit(COARSE, FINE, CAMERA), replace(QUICK, starts=2), quiet=True)


# Meshes and maps


def border_length(mesh: Mesh) -> float:
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    pairs, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() <= 2
    return float(np.linalg.norm(np.diff(mesh.vertices[pairs[counts == 1]], axis=1), axis=2).sum())


def test_refining_leaves_no_gaps_and_no_overlaps() -> None:
    flat = plane(9)
    chosen = np.random.default_rng(0).random(len(flat.faces)) < 0.3
    fine = refine(flat.faces, len(flat.vertices), chosen, 2)
    mesh = Mesh(fine.carry(flat.vertices), fine.faces)
    corners = mesh.vertices[mesh.faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2
    assert area.min() > 0
    assert area.sum() == pytest.approx(4.0)
    assert border_length(mesh) == pytest.approx(8.0)
    np.testing.assert_allclose(np.bincount(fine.origin, area), 4.0 / len(flat.faces))
    assert (np.bincount(fine.origin)[chosen] == 16).all()


def test_refined_vertices_lie_on_the_smooth_surface() -> None:
    coarse = cap(1.0, 11)
    assert coarse.normals is not None
    fine = refine(coarse.faces, len(coarse.vertices), np.ones(len(coarse.faces), bool), 2)
    vertices, normals = fine.curved(coarse.vertices, coarse.normals)
    straight = np.abs(np.linalg.norm(fine.carry(coarse.vertices), axis=1) - 1).max()
    assert np.abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.05 * straight
    assert (vertices / np.linalg.norm(vertices, axis=1, keepdims=True) * normals).sum(1).min() > 0.9999


def test_a_chart_with_a_seam_is_refined_alike() -> None:
    flat = plane(5)
    half = len(flat.faces) // 2
    # Every triangle has its own corners on the chart.
    apart = np.arange(3 * len(flat.faces)).reshape(-1, 3)
    chosen = np.arange(len(flat.faces)) < half
    mesh, chart = refine_alike(flat.faces, len(flat.vertices), apart, apart.size, chosen, 2)
    spots = chart.carry(flat.vertices[flat.faces].reshape(-1, 3))
    np.testing.assert_allclose(spots[chart.faces], mesh.carry(flat.vertices)[mesh.faces])


def bumped(height_mm: float, width_mm: float) -> tuple[Mesh, Field]:
    """Return a square of 10 cm in millimetres and a field in inner units with a bump in its middle."""
    base = plane(101, 50.0)

    def rise(points: torch.Tensor) -> torch.Tensor:
        square = points[:, :2].square().sum(1) * UNIT_MM**2
        return torch.exp(-square / width_mm**2) * height_mm / UNIT_MM

    def sdf(points: torch.Tensor) -> torch.Tensor:
        return points[:, 2] - rise(points)

    def surface(points: torch.Tensor) -> SurfacePoints:
        slope = -2 * points[:, :2] * (UNIT_MM / width_mm) ** 2 * rise(points)[:, None]
        return SurfacePoints(
            sdf(points), torch.cat([-slope, torch.ones(len(points), 1)], 1), torch.zeros(len(points), 0)
        )

    return base, Field(sdf, surface, lambda points, *_: torch.zeros_like(points))


def test_vertices_move_to_the_zero_level_and_fade_at_the_rim() -> None:
    base, field = bumped(2.0, 15.0)
    moved = displace(base, np.ones(len(base.faces), bool), field)
    distance = np.linalg.norm(base.vertices[:, :2], axis=1)
    inside = 50 - np.abs(base.vertices[:, :2]).max(1) > FADE_MM
    truth = 2.0 * np.exp(-((distance / 15) ** 2))
    np.testing.assert_allclose(moved.displacement[inside], truth[inside], atol=2e-3)
    rim = np.abs(base.vertices[:, :2]).max(1) > 49.9
    assert np.abs(moved.displacement[rim]).max() == 0
    np.testing.assert_allclose(moved.mesh.vertices[:, 2], moved.displacement)


def test_maps_hold_the_bump() -> None:
    base, field = bumped(2.0, 15.0)
    moved = displace(base, np.ones(len(base.faces), bool), field)
    # Half of the map, so that some of it is not covered.
    uv = base.vertices[:, :2] / 200 + 0.25
    maps = bake(moved, uv, base.faces, 256)
    rows, columns = np.mgrid[0:256, 0:256]
    x, y = ((columns + 0.5) / 256 - 0.25) * 200, (1 - (rows + 0.5) / 256 - 0.25) * 200
    inside = (np.abs(x) < 39) & (np.abs(y) < 39)
    truth = 2.0 * np.exp(-(x**2 + y**2) / 15**2)
    np.testing.assert_allclose(maps.displacement[inside], truth[inside], atol=0.01)
    assert maps.displacement[~maps.covered].max() == 0
    assert maps.range_mm() == 2.0
    stored = maps.displacement_16bit(2.0).astype(np.float64)
    np.testing.assert_allclose((stored / 65535 * 2 - 1) * 2.0, maps.displacement, atol=4.0 / 65535)
    normal = np.stack([2 * x / 15**2 * truth, 2 * y / 15**2 * truth, np.ones_like(x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    np.testing.assert_allclose(maps.normals[inside], normal[inside], atol=0.01)


def test_the_model_covers_the_face_smoothly() -> None:
    model = load_builtin()
    head = Mesh(model.template.double().numpy(), model.faces.numpy())
    landmarks = model.landmarks.on(model.template, model.faces).double().numpy()
    coarse = CoarseFace.of(model, head, landmarks, 1)
    foot = Surface(head).closest(coarse.dense.vertices)
    assert foot.distances.max() < 1.0
    face = coarse.dense.vertices[np.unique(coarse.dense.faces[coarse.face])]
    assert 100 < np.ptp(face[:, 0]) < 200
    assert 120 < np.ptp(face[:, 1]) < 210
    # Landmarks of eyes, nose and mouth are on it.
    assert (
        Surface(Mesh(coarse.dense.vertices, coarse.dense.faces[coarse.face])).closest(landmarks[17:]).distances.max()
        < 3
    )
    assert vertex_normals(head).shape == head.vertices.shape


def test_heights_are_compared_where_the_same_ray_passes() -> None:
    base = plane()
    displacement = base.vertices[:, 0].copy()
    face = SimpleNamespace(displaced=SimpleNamespace(base=base, displacement=displacement))
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 60.0, 64, 64)
    view = View("x", torch.zeros(64, 64, 3), torch.ones(64, 64), camera)
    # A ray through a point one unit behind the plane passes the plane at three quarters of the point's offset.
    points = np.array([[0.4, 0.2, -1.0], [-0.8, 0.1, -1.0], [0.4, 0.0, 0.0]])
    found = height_along_rays(face, view, points)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, [0.3, -0.6, 0.4], atol=1e-6)


def test_what_is_wider_than_a_centimetre_does_not_count() -> None:
    flat = plane(161, 40.0)
    x, y = flat.vertices[:, 0], flat.vertices[:, 1]
    groove = -0.8 * np.exp(-((x / 2) ** 2) - (y / 15) ** 4)
    person = SimpleNamespace(truth=flat, height=groove)
    seen = np.ones(len(groove), bool)
    heights = (0 * x, groove / 2, groove + 0.05 * x + 2)
    coarse, half, tilted = (HeightErrors.of(person, seen, height) for height in heights)  # type: ignore[arg-type]
    assert coarse.folds > coarse.all > 0.1
    assert half.all == pytest.approx(coarse.all / 2)
    assert half.folds == pytest.approx(coarse.folds / 2)
    assert tilted.all < 0.03 * coarse.all
    # The depth of the groove is relative to the surface beside it.
    sunk = np.where(np.abs(groove) > LEAST_MM, groove, 1.0)
    assert HeightErrors.of(person, seen, sunk).all > 0.5  # type: ignore[arg-type]


# Photos


def test_skin_is_inside_the_outline_without_eyes_brows_and_lips() -> None:
    face = protome.sider.pipeline.load_face_landmarks()
    flat = torch.zeros(478, 2)
    flat[:468] = face.positions[:, :2] * torch.tensor([1.0, -1.0]) + torch.tensor([100.0, 100.0])
    mask = skin_mask(flat, 200, 200)
    for spot, wanted in ((4, True), (50, True), (280, True), (151, True), (468, False)):
        x, y = flat[spot].long().tolist()
        assert bool(mask[y, x]) == wanted, spot
    right_eye = flat[[33, 133, 159, 145]].mean(0).long().tolist()
    assert not bool(mask[right_eye[1], right_eye[0]])
    # Lips between their borders, the borders themselves, and the brow's upper and lower edge.
    for at in (flat[[13, 14]].mean(0), flat[[37, 82]].mean(0), flat[0], flat[17], flat[291], flat[105], flat[52]):
        x, y = at.long().tolist()
        assert not bool(mask[y, x])
    assert not bool(mask[0, 0])


def test_small_faces_get_fewer_frequencies_and_stay_closer_to_the_model() -> None:
    config = DETAIL_PRESETS["sider"]
    assert protome.sider.pipeline.suited_config(config, 256) == config
    small = protome.sider.pipeline.suited_config(config, 128)
    assert small.prior == 2 * config.prior
    assert small.networks.frequencies == config.networks.frequencies - 1
    assert protome.sider.pipeline.suited_config(config, 8).networks.frequencies == config.networks.coarse_frequencies


def test_closed_eyes_are_detected() -> None:
    points = torch.zeros(478, 2)
    points[33, 0], points[133, 0], points[263, 0], points[362, 0] = 0.0, 30.0, 90.0, 60.0
    points[159, 1], points[145, 1], points[386, 1], points[374, 1] = -5.0, 4.0, -1.0, 1.0
    assert not eyes_closed(points)
    points[159, 1], points[145, 1] = -1.0, 1.0
    assert eyes_closed(points)


def test_bad_input_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no head model is called flame: give built-in, flame:FILE, ict:DIR or npz"):
        load_model("flame")
    with pytest.raises(InputError, match=r"^no preset is called fine: use one of relief, sider, without-feature"):
        recover_detail(tmp_path / "photo.png", preset="fine")
    with pytest.raises(InputError, match=r"photo\.png does not exist: give the path of a photo$"):
        recover_detail(tmp_path / "photo.png")


def test_a_turned_face_is_warned_about() -> None:
    camera = Camera.look_at(torch.tensor([800.0, 0.0, 400.0]), torch.zeros(3), 500.0, 64, 64)
    points = torch.zeros(478, 2)
    points[33, 0], points[133, 0], points[159, 1] = 0.0, 10.0, 5.0
    view = View("x", torch.ones(64, 64, 3), torch.ones(64, 64), camera, points)
    with pytest.warns(
        ProtomeWarning, match=r"^the face in x\.png is turned away by 63 degrees: the detail of the far cheek"
    ):
        protome.sider.pipeline.warn_about_face("x.png", view, points)


def test_beards_and_glasses_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 800.0]), torch.zeros(3), 500.0, 64, 64)
    points = torch.zeros(478, 2)
    points[33, 0], points[133, 0], points[159, 1] = 0.0, 10.0, 5.0
    view = View("x", torch.ones(64, 64, 3), torch.ones(64, 64), camera, points)
    monkeypatch.setattr(protome.sider.pipeline, "beard_share", lambda image, landmarks: 0.9)
    monkeypatch.setattr(protome.sider.pipeline, "frame_edge", lambda image, landmarks: 0.9)
    with pytest.warns(ProtomeWarning) as warned:
        protome.sider.pipeline.warn_about_face("x.png", view, points)
    assert [str(one.message).split(":")[0] for one in warned] == [
        "the face in x.png seems to have a beard",
        "the face in x.png seems to wear glasses",
    ]


@pytest.mark.parametrize("preset", ["relief", "sider"])
def test_a_portrait_gives_all_files(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = DetailConfig(SMALL, CoarseConfig(points=4000, steps=60, batch=256), epochs=2, renderer_epochs=1, batch=2048)
    monkeypatch.setitem(DETAIL_PRESETS, "sider", quick)
    monkeypatch.setattr(protome.sider.pipeline, "LEVELS", 1)
    save_portrait(tmp_path / "portrait.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtomeWarning)
        face = recover_detail(tmp_path / "portrait.png", preset=preset, quiet=True)
    save_detail(face, tmp_path / "out", ("protome", "detail"))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(DETAIL_FILES)
    stored = Image.open(tmp_path / "out" / "displacement.png")
    assert stored.mode == "I;16"
    reach = result["maps"]["displacement.png"]["mm_at_65535"]
    heights = (np.asarray(stored).astype(np.float64) / 65535 * 2 - 1) * reach
    assert 0.3 * np.abs(face.displaced.displacement).max() < np.abs(heights).max() <= reach
    marked = MarkedMesh.load(tmp_path / "out" / "detail.ply", tmp_path / "out" / "result.json")
    assert Surface(marked.mesh).closest(marked.points(NOW_NAMES, "")).distances.max() < 1.5
    metres = Mesh.load(tmp_path / "out" / "detail.glb")
    np.testing.assert_allclose(np.ptp(metres.vertices, 0) * 1000, np.ptp(face.mesh.vertices, 0), rtol=1e-4)
