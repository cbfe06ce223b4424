"""Meshes of known shapes against closed forms, their images in cameras, and previews."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.field import Field, SdfFn
from protome.field.grid import sample_grid
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.extract import extract_mesh
from protome.preview import BACKGROUND, coloured_view, contact_sheet, preview_sheet, side_camera, square
from protome.render.cast import cast, interpolate, sky_visibility
from protome.render.render import render

# Neither a cube nor a multiple of the coarse cells, and off the shapes' own symmetry.
BOUNDS = torch.tensor([[-1.03, -0.9, -0.97], [1.0, 1.07, 0.83]])
RESOLUTION = 72
STEP = 2.03 / RESOLUTION

BALL, BLOCK = sphere((0.02, -0.1, 0.0), 0.6), box((0.0, 0.1, -0.1), (0.6, 0.5, 0.4))
PAIR = smooth_union(sphere((-0.3, 0.0, 0.0), 0.5), sphere((0.3, 0.0, 0.0), 0.5), 2e-3)


def _volume(mesh: Mesh) -> float:
    """Enclosed volume, positive if the faces turn outwards."""
    return float(mesh.to_trimesh().volume)


def _union_of_spheres(radius: float, half_gap: float) -> tuple[float, float]:
    """Volume and area of two equal overlapping spheres: two spheres without their caps beyond the middle plane."""
    cap = radius - half_gap
    volume = 2 * (4 / 3 * math.pi * radius**3 - math.pi * cap**2 * (3 * radius - cap) / 3)
    return volume, 2 * (4 * math.pi * radius**2 - 2 * math.pi * radius * cap)


SHAPES: dict[str, tuple[SdfFn, float, float]] = {
    "sphere": (BALL, 4 / 3 * math.pi * 0.6**3, 4 * math.pi * 0.6**2),
    "box": (BLOCK, 1.2 * 1.0 * 0.8, 2 * (1.2 + 1.2 * 0.8 + 0.8)),
    "union": (PAIR, *_union_of_spheres(0.5, 0.3)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_meshes_have_the_volume_and_area_of_the_shape(name: str) -> None:
    sdf, volume, area = SHAPES[name]
    mesh = extract_mesh(field_of(sdf), BOUNDS, RESOLUTION)
    solid = mesh.to_trimesh()
    assert solid.is_watertight
    assert solid.is_winding_consistent
    # A box loses its edges, about half a cell wide.
    assert math.isclose(_volume(mesh), volume, rel_tol=0.01 if name != "box" else 0.02)
    assert math.isclose(float(solid.area), area, rel_tol=0.01 if name != "box" else 0.03)
    # Linear interpolation on a sphere of radius r misses by up to step^2 / 8 r; at an edge by a fraction of a step.
    distance = sdf(torch.from_numpy(mesh.vertices)).abs()
    assert float(distance.quantile(0.9)) < STEP**2 / (8 * 0.5) * 1.5
    assert float(distance.max()) < 0.3 * STEP


@pytest.mark.parametrize("name", SHAPES)
def test_vertex_normals_are_the_fields_and_point_outwards(name: str) -> None:
    field = field_of(SHAPES[name][0])
    mesh = extract_mesh(field, BOUNDS, RESOLUTION)
    assert mesh.normals is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    truth = field.surface(torch.from_numpy(mesh.vertices).float()).normals.detach().numpy()
    np.testing.assert_allclose(mesh.normals, truth, atol=1e-5)
    if name == "sphere":
        outwards = mesh.vertices - np.array([0.02, -0.1, 0.0])
        np.testing.assert_allclose(mesh.normals, outwards / np.linalg.norm(outwards, axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_faces_turn_outwards(name: str) -> None:
    mesh = extract_mesh(field_of(SHAPES[name][0]), BOUNDS, RESOLUTION)
    assert _volume(mesh) > 0
    # Faces agree with the normals around them, except where a sharp edge is cut off.
    assert mesh.normals is not None
    agreement = (mesh.normals * Mesh(mesh.vertices, mesh.faces).to_trimesh().vertex_normals).sum(1)
    assert np.quantile(agreement, 0.02) > 0.7


def test_vertices_take_the_fields_colours() -> None:
    field = field_of(BALL, lambda points, normals, views, features: 0.5 + 0.2 * points + 0.1 * views)
    mesh = extract_mesh(field, BOUNDS, 40)
    assert mesh.colours is not None
    assert mesh.normals is not None
    # Each vertex is viewed along its normal: the view direction is the negative normal.
    np.testing.assert_allclose(mesh.colours, 0.5 + 0.2 * mesh.vertices - 0.1 * mesh.normals, atol=1e-5)


def test_a_box_on_grid_points_is_closed() -> None:
    """Values of exactly zero at grid points are the hard case of marching cubes."""
    bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    mesh = extract_mesh(field_of(box((0, 0, 0), (0.5, 0.25, 0.5))), bounds, 32)
    solid = mesh.to_trimesh()
    assert solid.is_watertight
    assert math.isclose(_volume(mesh), 0.5, rel_tol=0.03)
    # A hundredth of a cell: vertices that would coincide are kept apart by as much.
    np.testing.assert_allclose(mesh.vertices.max(0), [0.5, 0.25, 0.5], atol=0.011 * 2 / 32)
    np.testing.assert_allclose(mesh.vertices.min(0), [-0.5, -0.25, -0.5], atol=0.011 * 2 / 32)
    assert len(np.unique(mesh.vertices.astype(np.float32), axis=0)) == len(mesh.vertices)


def test_only_the_largest_part_is_kept() -> None:
    big, small = sphere((-0.3, 0.0, 0.0), 0.4), sphere((0.6, 0.0, 0.0), 0.2)
    mesh = extract_mesh(field_of(lambda points: torch.minimum(big(points), small(points))), BOUNDS, RESOLUTION)
    assert mesh.vertices[:, 0].max() < 0.15
    assert math.isclose(_volume(mesh), 4 / 3 * math.pi * 0.4**3, rel_tol=0.01)


def test_a_hollow_shape_loses_its_inner_wall() -> None:
    ball = sphere((0.0, 0.0, 0.0), 0.6)
    mesh = extract_mesh(field_of(lambda points: (ball(points) + 0.15).abs() - 0.15), BOUNDS, RESOLUTION)
    assert math.isclose(_volume(mesh), 4 / 3 * math.pi * 0.6**3, rel_tol=0.01)


def _half_ball() -> Mesh:
    """A ball cut in half by the floor of the bounds."""
    return extract_mesh(field_of(sphere((0.0, -0.9, 0.0), 0.6)), BOUNDS, RESOLUTION)


def test_a_surface_cut_by_the_bounds_is_closed() -> None:
    mesh = _half_ball()
    solid = mesh.to_trimesh()
    assert solid.is_watertight
    assert solid.is_winding_consistent
    # The cap lies within one cell of the floor.
    assert -0.9 - STEP - 1e-6 <= mesh.vertices[:, 1].min() <= -0.9
    half = 2 / 3 * math.pi * 0.6**3
    assert half * 0.99 < _volume(mesh) < half * 1.01 + math.pi * 0.6**2 * STEP


def test_a_cut_is_flat_and_lies_on_the_bounds() -> None:
    mesh = _half_ball()
    radius = np.linalg.norm(mesh.vertices - np.array([0.0, -0.9, 0.0]), axis=1)
    cap = mesh.vertices[radius < 0.6 - 1.5 * STEP]
    assert len(cap) > 500
    np.testing.assert_allclose(cap[:, 1], -0.9, atol=0.01 * STEP)


@pytest.mark.parametrize(
    "side",
    [0, 1],
)
def test_no_vertex_lies_further_out_than_one_cell(side: int) -> None:
    """Outside its bounds a field has not been trained."""
    everywhere = field_of(sphere((0.0, 0.0, 0.0), 1.2))
    mesh = extract_mesh(everywhere, BOUNDS, RESOLUTION)
    beyond = (mesh.vertices - BOUNDS[side].numpy()) * (1 if side else -1)
    assert beyond.max() < 1.001 * STEP


@pytest.mark.parametrize("radius", [5.0, -0.1])
def test_a_field_without_surface_is_refused(radius: float) -> None:
    with pytest.raises(ValueError, match="no surface"):
        extract_mesh(field_of(sphere((0, 0, 0), radius)), BOUNDS, 16)


@pytest.mark.parametrize("name", SHAPES)
def test_sampled_grid_is_the_dense_grid_at_the_surface(name: str) -> None:
    sdf, calls = SHAPES[name][0], [0]

    def counted(points: Tensor) -> Tensor:
        calls[0] += len(points)
        return sdf(points)

    values = sample_grid(counted, BOUNDS, STEP)
    axes = [BOUNDS[0, axis] + STEP * torch.arange(values.shape[axis]) for axis in range(3)]
    dense = sdf(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)).reshape(values.shape)
    # Corners of cells that the surface crosses: those have both signs within one cell in every direction.
    inside = (dense < 0).float()[None, None]
    either = [torch.nn.functional.max_pool3d(side, 3, 1, 1)[0, 0] > 0 for side in (inside, 1 - inside)]
    near = either[0] & either[1] & (dense.abs() < 3**0.5 * STEP)
    assert int(near.sum()) > 5000
    torch.testing.assert_close(values[near], dense[near], rtol=0, atol=1e-6)
    assert torch.equal(values < 0, dense < 0)
    assert calls[0] < 0.25 * values.numel()
    for axis in range(3):
        assert float(axes[axis][-1]) > float(BOUNDS[1, axis]) - 1e-5


# Images in cameras

VIEW = Camera.look_at(torch.tensor([0.5, 0.6, 2.4]), torch.tensor([0.0, -0.1, 0.0]), 80.0, 64, 48)


def test_casting_on_a_mesh_gives_what_rendering_the_field_gives() -> None:
    field = field_of(BALL)
    mesh = extract_mesh(field, BOUNDS, RESOLUTION)
    hits, rendered = cast(mesh, VIEW), render(field, VIEW, BOUNDS)
    mask = torch.zeros(64 * 48, dtype=torch.bool)
    mask[hits.pixel] = True
    assert len(hits.pixel) == int(mask.sum()) > 500
    assert float((mask != rendered.mask.reshape(-1)).float().mean()) < 0.01
    inner = rendered.mask.reshape(-1)[hits.pixel]
    depth = (hits.points - VIEW.centre).norm(dim=1)[inner]
    truth = rendered.depth.reshape(-1)[hits.pixel][inner]
    # Triangles with edges up to sqrt(3) step sink below the sphere by up to 3 step^2 / 8 r, at grazing angles by more.
    sag = 3 * STEP**2 / (8 * 0.6)
    assert float((depth - truth).abs().median()) < sag
    facing = (rendered.normal.reshape(-1, 3)[hits.pixel] * -hits.directions).sum(1)[inner] > 0.3
    assert float((depth - truth).abs()[facing].max()) < sag / 0.3


def test_hits_know_their_triangle() -> None:
    mesh = extract_mesh(field_of(BALL), BOUNDS, 24)
    hits, rays = cast(mesh, VIEW), VIEW.rays()
    torch.testing.assert_close(hits.weights.sum(1), torch.ones(len(hits.pixel)))
    assert bool((hits.weights > -1e-3).all())
    torch.testing.assert_close(interpolate(mesh.vertices, mesh, hits), hits.points, atol=1e-4, rtol=0)
    assert torch.equal(hits.directions, rays.directions[hits.pixel])
    torch.testing.assert_close(VIEW.project(hits.points), VIEW.pixels()[hits.pixel], atol=2e-2, rtol=0)
    # Only the near side is hit.
    assert bool(((hits.points - torch.tensor([0.02, -0.1, 0.0])) * hits.directions).sum(1).max() < 0.1)


@pytest.mark.parametrize("depth", [0.5, 1.0, 2.0])
def test_sky_visibility_in_a_well_is_that_of_its_rim(depth: float) -> None:
    turn = torch.linspace(0, 2 * math.pi, 257)[:-1].numpy()
    floor = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    here = np.arange(256)
    after, up, middle = (here + 1) % 256, here + 256, np.full(256, 512)
    walls = [np.stack([here, after, up], 1), np.stack([after, (here + 1) % 256 + 256, up], 1)]
    well = Mesh(
        np.concatenate([floor, floor + np.array([0.0, 0.0, depth]), [[0.0, 0.0, 0.0]]]),
        np.concatenate([*walls, np.stack([middle, here, after], 1)]),
    )
    visible = sky_visibility(well, torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), rays=2000)
    # By the cosine, a rim at the angle a from the normal lets in sin^2 a.
    assert math.isclose(float(visible), 1 / (1 + depth**2), abs_tol=0.01)


def test_beside_a_high_wall_half_of_the_sky_is_visible() -> None:
    corners = np.array([[-99.0, 0, 0], [99, 0, 0], [99, 99, 0], [-99, 99, 0], [99, 0, 99], [-99, 0, 99]])
    corner = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1], [0, 5, 4]]))
    places = torch.tensor([[0.0, 1.0, 0.0], [0.0, 20.0, 0.0]])
    visible = sky_visibility(corner, places, torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3))
    # A long wall up to the angle b above the floor hides (1 - cos b) / 2; the rays start a little above the floor.
    hidden = [(1 - math.cos(math.atan2(99, 1))) / 2, (1 - math.cos(math.atan2(99, 20))) / 2]
    np.testing.assert_allclose(visible, [1 - one for one in hidden], atol=0.035)


def test_a_camera_that_faces_away_hits_nothing() -> None:
    mesh = extract_mesh(field_of(BALL), BOUNDS, 16)
    away = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, 9.0]), 80.0, 16, 16)
    assert len(cast(mesh, away).pixel) == 0
    colour, normal = coloured_view(mesh, field_of(BALL), away)
    np.testing.assert_allclose(colour, BACKGROUND, atol=1e-6)
    np.testing.assert_allclose(normal, BACKGROUND, atol=1e-6)


# Previews

HEAD_BOUNDS = torch.tensor([[-1.3, -1.35, -1.3], [1.3, 1.0, 0.5]])


@pytest.mark.parametrize("degrees", [0.0, 45.0, 90.0, 180.0, 270.0, 315.0])
def test_side_cameras_look_at_the_middle_from_their_azimuth(degrees: float) -> None:
    camera, middle = side_camera(degrees, HEAD_BOUNDS, 100), HEAD_BOUNDS.mean(0)
    torch.testing.assert_close(camera.project(middle[None])[0], torch.tensor([50.0, 50.0]), atol=1e-3, rtol=0)
    away = camera.centre - middle
    angle = math.degrees(math.atan2(float(away[0]), float(away[2])))
    assert abs((angle - degrees + 180) % 360 - 180) < 1e-3
    # Nearly level, and upright.
    assert abs(float(away[1] / away.norm())) < 0.1
    assert float(camera.T_world_camera[1, 1]) < -0.99


@pytest.mark.parametrize("degrees", [0.0, 45.0, 90.0, 180.0, 270.0, 315.0])
def test_side_cameras_show_all_but_the_corners_of_the_volume(degrees: float) -> None:
    middle = HEAD_BOUNDS.mean(0)
    inner = middle + 0.85 * (HEAD_BOUNDS - middle)
    spot = side_camera(degrees, HEAD_BOUNDS, 100).project(torch.cartesian_prod(*inner.T))
    assert bool(((spot >= 0) & (spot <= 100)).all())


def _two_coloured() -> Field:
    """A ball, red on the subject's left (+x), blue on the right; a little green above."""

    def colour(points: Tensor, normals: Tensor, views: Tensor, features: Tensor) -> Tensor:
        left = (points[:, 0] > 0).float()
        return torch.stack([left, 0.3 * (points[:, 1] > 0).float(), 1 - left], 1)

    return field_of(sphere((0.0, 0.0, 0.0), 0.6), colour)


@pytest.mark.parametrize("with_field", [True, False])
def test_the_subjects_left_is_on_the_right_of_a_frontal_view(with_field: bool) -> None:
    field = _two_coloured()
    mesh = extract_mesh(field, BOUNDS, 40)
    given = field if with_field else None
    bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    red, blue, size = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], 81

    def pixel_of(degrees: float, point: list[float]) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Colour and normal at the pixel that shows a point, and how far right and down of the middle that is."""
        camera = side_camera(degrees, bounds, size)
        colour, normal = coloured_view(mesh, given, camera)
        x, y = camera.project(torch.tensor([point]))[0].long().tolist()
        return colour[y, x], normal[y, x], x - size // 2, y - size // 2

    colour, normal, right, _ = pixel_of(0.0, [0.4, -0.1, 0.43])
    np.testing.assert_allclose(colour, red, atol=1e-3)
    assert right > 5
    # Normals in the camera's frame: right is red, up is green, towards the viewer is blue.
    assert normal[0] > 0.7
    assert normal[2] > 0.7
    colour, normal, right, _ = pixel_of(0.0, [-0.4, -0.1, 0.43])
    np.testing.assert_allclose(colour, blue, atol=1e-3)
    assert right < -5
    assert normal[0] < 0.3
    colour, normal, _, down = pixel_of(0.0, [0.1, 0.4, 0.436])
    np.testing.assert_allclose(colour, [1.0, 0.3, 0.0], atol=1e-3)
    assert down < -5
    assert normal[1] > 0.7
    np.testing.assert_allclose(pixel_of(90.0, [0.6, -0.05, 0.0])[0], red, atol=1e-3)
    colour, _, right, _ = pixel_of(180.0, [-0.4, -0.1, -0.43])
    np.testing.assert_allclose(colour, blue, atol=1e-3)
    assert right > 5
    corner, normal = (image[0, 0] for image in coloured_view(mesh, given, side_camera(0.0, bounds, size)))
    np.testing.assert_allclose([corner, normal], BACKGROUND, atol=1e-6)


def test_a_mesh_without_colours_is_grey() -> None:
    mesh = extract_mesh(_two_coloured(), BOUNDS, 24)
    plain, _ = coloured_view(Mesh(mesh.vertices, mesh.faces), None, side_camera(0.0, BOUNDS, 21))
    np.testing.assert_allclose(plain[10, 10], 0.7, atol=1e-6)


def test_square_centres_an_image_on_background() -> None:
    wide = np.zeros((10, 40, 3))
    wide[:, 20:] = 1.0
    tile = square(wide, 20)
    assert tile.shape == (20, 20, 3)
    np.testing.assert_allclose(tile[:7], BACKGROUND)
    np.testing.assert_allclose(tile[13:], BACKGROUND)
    np.testing.assert_allclose(tile[8:12, :10], 0.0, atol=1e-6)
    np.testing.assert_allclose(tile[8:12, 10:], 1.0, atol=1e-6)
    assert square(np.zeros((5, 4, 3)), 20).shape == (20, 20, 3)


def test_short_rows_of_a_sheet_are_filled_with_background() -> None:
    tile = np.zeros((4, 6, 3))
    sheet = contact_sheet([[tile, tile, tile], [tile]])
    assert sheet.shape == (8, 18, 3)
    np.testing.assert_allclose(sheet[4:, 6:], BACKGROUND)
    assert float(np.abs(sheet[:4]).max()) == float(np.abs(sheet[4:, :6]).max()) == 0.0


def test_preview_shows_the_photo_beside_the_head() -> None:
    field, photo = _two_coloured(), torch.full((60, 90, 3), 0.25)
    mesh = extract_mesh(field, BOUNDS, 24)
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 4.0]), torch.zeros(3), 150.0, 90, 60)
    sheet = preview_sheet(mesh, field, HEAD_BOUNDS, photo, camera, 48)
    assert sheet.shape == (2 * 48, 5 * 48, 3)
    np.testing.assert_allclose(sheet[24, 24], 0.25, atol=1e-6)  # the photo
    np.testing.assert_allclose(sheet[26, 48 + 28], [1.0, 0.0, 0.0], atol=0.01)  # the head from the photo's camera
    np.testing.assert_allclose(sheet[26, 48 + 20], [0.0, 0.0, 1.0], atol=0.01)
    np.testing.assert_allclose(sheet[24, 96 + 24], [0.5, 0.5, 1.0], atol=0.1)  # its normals
