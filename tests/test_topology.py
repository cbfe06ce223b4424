"""The template: its mesh, and where it lies on heads whose deformation is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from trimesh import Trimesh, creation

from protome.asset.picture import Textured
from protome.asset.tangents import FLAT, axes_at, decoded, tangents
from protome.asset.texels import Texels
from protome.benchmark.topology import Measured, flipped, table
from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.field.analytic import field_of, sphere
from protome.geometry.extension import laplacian
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import unit
from protome.meshing.extract import zero_level
from protome.population.template.pieces import ball, grid
from protome.prior.prior import FittedHead, Prior
from protome.topology.eyes import Eyeballs, over_ball
from protome.topology.fitted import TemplateHead
from protome.topology.hair import BELOW_MM, first_exit, shell
from protome.topology.laid import layout
from protome.topology.lids import folded, lid_colours
from protome.topology.names import ARKIT, ict_units
from protome.topology.pull import CORE_MM, expected, pulled_back, sure_skin
from protome.topology.relief import TemplateRelief
from protome.topology.skin import posed, untangled
from protome.topology.template import EYES, HAIR_CENTRE_MM, MOST_VERTICES, Part, Template
from protome.topology.texture import template_texture
from protome.units import UNIT_MM

IBUG = {"right_eye": 39, "left_eye": 42, "nose_tip": 30, "nose_base": 33, "right_lips": 48, "left_lips": 54}


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load()


@pytest.fixture(scope="module")
def mean() -> FittedHead:
    prior = Prior.load()
    return FittedHead(prior.field, prior.mean(), prior.bounds)


def as_head(template: Template, factor: float = 1.0) -> TemplateHead:
    """Return a person who looks as the template does, in another size."""
    eyes = Eyeballs(factor * template.pivots, factor * template.radii)
    return TemplateHead(template, factor * template.vertices, eyes)


def inner_face(template: Template) -> np.ndarray:
    """Return which vertices are sure skin of the middle of the face."""
    inside = (template.vertices > CORE_MM[0]) & (template.vertices < CORE_MM[1])
    return np.asarray(inside.all(1) & (template.trust > 0.99))


# The mesh


def test_the_template_is_of_quads_within_its_limit_and_every_part_is_there(template: Template) -> None:
    assert len(template.vertices) <= MOST_VERTICES
    assert (template.polygons[:, 3] >= 0).mean() > 0.97
    assert template.names == ARKIT
    assert all((template.part == part).sum() > 50 for part in Part)
    assert len(np.unique(template.triangles)) == len(template.vertices)


def test_the_skin_is_one_piece_and_no_edge_has_three_faces(template: Template) -> None:
    skin = template.triangles[template.triangle_part <= Part.LINING]
    edges, count = np.unique(np.sort(skin[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0, return_counts=True)
    assert count.max() == 2
    assert len(edges)
    directed = skin[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)  # neighbours agree on what is outside


def test_the_texture_has_room_for_each_part_and_the_face_is_one_chart(template: Template) -> None:
    assert template.uv.min() >= 0
    assert template.uv.max() <= 1
    corners = template.uv[template.uv_triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    assert np.abs(area).sum() < 1
    # Seen from outside the image is not mirrored (v runs down).
    assert (area[template.triangle_part == Part.SKIN] < 0).mean() > 0.99
    face = (template.vertices > CORE_MM[0]).all(1) & (template.vertices < CORE_MM[1]).all(1)
    own = face[template.triangles].all(1) & (template.triangle_part == Part.SKIN)
    rows = np.unique(template.uv_triangles[own])
    assert len(rows) == len(np.unique(template.triangles[own]))  # no seam cuts it


def test_left_is_where_x_is_positive(template: Template) -> None:
    assert template.pivots[0, 0] > 25
    assert template.pivots[1, 0] < -25
    for number, part in enumerate(EYES):
        own = template.vertices[template.has(part)]
        np.testing.assert_allclose(
            np.linalg.norm(own - template.pivots[number], axis=1), template.radii[number], atol=0.01
        )


def test_a_template_survives_its_file(template: Template, tmp_path: Path) -> None:
    template.save(tmp_path / "own.npz")
    again = Template.load(tmp_path / "own.npz")
    assert (again.polygons == template.polygons).all()
    assert (again.moves == template.moves).all()
    assert (again.lids == template.lids).all()
    np.testing.assert_allclose(again.vertices, template.vertices, atol=1e-4)


def test_another_file_is_no_template(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", vertices=np.zeros((3, 3)))
    with pytest.raises(InputError, match="protome population template"):
        Template.load(tmp_path / "other.npz")


def test_every_name_of_arkit_has_its_unit() -> None:
    assert len(ARKIT) == len(set(ARKIT)) == 52
    assert ict_units("eyeBlinkLeft") == ("eyeBlink_L",)
    assert ict_units("jawLeft") == ("jawLeft",)
    assert ict_units("mouthRight") == ("mouthRight",)
    assert ict_units("mouthSmileRight") == ("mouthSmile_R",)
    assert ict_units("browInnerUp") == ("browInnerUp_L", "browInnerUp_R")
    assert ict_units("tongueOut") == ()


def test_balls_and_grids_look_outwards() -> None:
    piece = ball(np.array([1.0, 2.0, 3.0]), 5.0, (15.0, 30.0, 50.0, 75.0, 100.0, 125.0, 150.0), 16, Part.LEFT_EYE)
    quads = piece.polygons[piece.polygons[:, 3] >= 0]
    mesh = Trimesh(piece.vertices, np.concatenate([piece.polygons[:, :3], quads[:, [0, 2, 3]]]), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0.8 * 4 / 3 * np.pi * 5**3
    x, y = np.meshgrid(np.arange(4.0), -np.arange(3.0))
    flat = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    corners = flat[grid(3, 4)]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1])[:, 2] > 0).all()


# On a head


def test_pulled_back_points_are_deformed_to_where_they_came_from(template: Template) -> None:
    prior = Prior.load()
    latents = prior.sample(torch.Generator().manual_seed(3))
    head = FittedHead(prior.field, latents, prior.bounds)
    chosen = np.flatnonzero(template.trust == 1)[::40]
    found = pulled_back(head, template.vertices[chosen])
    assert found.known.mean() > 0.9
    points = torch.from_numpy(found.vertices[found.known] / UNIT_MM).float()
    back = points + prior.field.displacement(points[None], latents.z_shape[None])[0]
    away = np.linalg.norm(back.double().numpy() * UNIT_MM - template.vertices[chosen][found.known], axis=1)
    assert away.max() < 0.3
    assert away.mean() < 0.03


def test_the_template_lies_on_the_mean_head_with_no_triangle_turned_over(template: Template, mean: FittedHead) -> None:
    prior = Prior.load()
    field = mean.bind()
    surface = zero_level(field.sdf, mean.bounds, 120).largest_component().scaled(UNIT_MM)
    made = TemplateHead.of(mean, surface, template)
    face = ((template.vertices > CORE_MM[0]) & (template.vertices < CORE_MM[1])).all(1) & (template.trust > 0.99)
    points = torch.from_numpy(made.vertices[face] / UNIT_MM).float()
    with torch.no_grad():
        away = field.sdf(points).abs().double().numpy() * UNIT_MM
    assert away.mean() < 0.1
    assert flipped(made.vertices, template.triangles[face[template.triangles].all(1)], mean) == 0
    landmarks = prior.landmarks_of(mean.field, mean.latents).double().numpy() * UNIT_MM
    own = made.vertices[template.ibug68[[IBUG[name] for name in LANDMARK_NAMES]]]
    assert np.linalg.norm(own - landmarks, axis=1).mean() < 2.0
    # Lids hold before the eyeballs.
    skin = template.has(Part.SKIN)
    for pivot, radius in zip(made.eyes.pivots, made.eyes.radii, strict=True):
        before = skin & (made.vertices[:, 2] > pivot[2] + 0.3 * radius)
        assert np.linalg.norm(made.vertices[before] - pivot, axis=1).min() > radius


def test_a_head_whose_jaw_is_open_is_compared_with_the_template_opened_by_the_same_name(
    template: Template, mean: FittedHead
) -> None:
    opened = torch.tensor([0.5 if name == "jawOpen" else 0.0 for name in mean.field.config.expression])
    head = replace(mean, latents=replace(mean.latents, z_expression=opened))
    wanted = template.vertices + 0.5 * template.moves[ARKIT.index("jawOpen")]
    np.testing.assert_allclose(posed(template, head), wanted, atol=1e-6)
    assert posed(template, mean) is template.vertices


def test_turned_triangles_are_turned_back_and_lie_on_the_surface() -> None:
    ball_mesh = creation.icosphere(4, 100.0)
    rest, faces = np.array(ball_mesh.vertices), np.array(ball_mesh.faces)
    tangled = rest.copy()
    tangled[faces[7, [0, 1]]] = rest[faces[7, [1, 0]]]  # two neighbours change places
    field = field_of(sphere((0.0, 0.0, 0.0), 100.0 / UNIT_MM))

    def inwards(vertices: np.ndarray) -> int:
        normals = Trimesh(vertices, faces, process=False).face_normals
        return int(((normals * vertices[faces].mean(1)).sum(1) <= 0).sum())

    assert inwards(tangled) > 0
    smoothness = laplacian(faces, len(rest))
    mended = untangled(tangled, rest, np.ones(len(rest)), faces, smoothness, field)
    assert inwards(mended) == 0
    assert np.abs(np.linalg.norm(mended, axis=1) - 100.0).max() < 0.2
    calm = np.linalg.norm(rest - rest[faces[7, 0]], axis=1) > 60
    np.testing.assert_allclose(mended[calm], rest[calm], atol=1e-9)


def test_skin_that_is_taken_far_away_is_hair(template: Template) -> None:
    rest = template.vertices
    faces = template.triangles[template.triangle_part == Part.SKIN]
    moves = 0.1 * rest + [3.0, 0.0, 0.0]
    hair = (np.abs(rest[:, 0]) > 60) & (rest[:, 1] > -100)
    moves[hair] += 40.0 * np.sign(rest[hair, :1]) * [1.0, 0.0, 0.0]
    candidates = template.trust > 0.3
    sure = sure_skin(rest, rest, moves, candidates, faces)
    assert not sure[hair].any()
    assert sure[candidates & (np.abs(rest[:, 0]) < 40) & (rest[:, 2] > -60)].mean() > 0.98
    where = np.flatnonzero(hair & candidates)
    # Below hair the skin goes on as it does beside it: here by a similarity.
    away = np.linalg.norm(expected(rest, sure, moves, where) - (0.1 * rest[where] + [3.0, 0.0, 0.0]), axis=1)
    assert away.max() < 0.5


def test_a_vertex_in_an_eyeball_is_moved_to_its_front() -> None:
    points = np.array([[0.0, 0.0, 9.0], [0.0, 0.0, 11.0], [0.0, 0.0, -9.0], [3.0, 0.0, 9.0]])
    moved = over_ball(points, np.array([True, True, True, False]), np.zeros(3), 10.0)
    np.testing.assert_allclose(moved, [[0, 0, 10.25], [0, 0, 11.0], [0, 0, -9.0], [3.0, 0, 9.0]])


def test_the_shell_lies_on_hair_and_hides_below_bare_skin() -> None:
    centre = np.array(HAIR_CENTRE_MM)
    skin = creation.icosphere(4, 80.0)
    rest = creation.icosphere(3, 75.0)
    where = centre + np.array(rest.vertices)
    own = Mesh(centre + np.array(skin.vertices), np.array(skin.faces))
    for hair, radius in ((20.0, 100.0), (1.0, 80.0 - BELOW_MM)):
        outer = Mesh(centre + np.array(skin.vertices) * (80 + hair) / 80, np.array(skin.faces))
        made = shell(where, np.array(rest.faces), own, outer)
        reach = np.linalg.norm(made - centre, axis=1)
        limit = 60.0 if hair < 4 else radius  # where there is no hair the shell may lie deeper
        np.testing.assert_allclose(reach, limit, atol=1.5)


def test_a_ray_leaves_a_ball_at_its_radius() -> None:
    ball_mesh = creation.icosphere(4, 2.0)
    ways = np.eye(3)
    reach = first_exit(np.array(ball_mesh.vertices), np.array(ball_mesh.faces), np.array([0.5, 0.0, 0.0]), ways)
    np.testing.assert_allclose(reach, [1.5, np.sqrt(3.75), np.sqrt(3.75)], atol=0.02)


# Colours


def test_skin_has_the_colours_of_the_head_at_the_same_places(template: Template) -> None:
    head = as_head(template)
    own = layout(template, head.vertices)
    image = np.zeros((128, 128, 3), np.uint8)
    row, column = np.mgrid[:128, :128]
    image[..., 0], image[..., 1], image[..., 2] = 2 * column, 2 * row, 90
    skin = template.triangle_part == Part.SKIN
    source = Textured(head.vertices[own.vertex], own.faces[skin], template.uv, image)
    made = template_texture(head, source, 128)
    face = inner_face(template)
    uv = template.uv[np.unique(template.uv_triangles[face[template.triangles].all(1)])]
    x, y = np.clip((uv * 128).astype(int), 0, 127).T
    assert np.abs(made[y, x].astype(int) - image[y, x].astype(int)).mean() < 3


def test_the_normal_map_gives_skin_the_normals_of_the_reconstruction_and_of_its_own_map(template: Template) -> None:
    """The source's normals are bent by a wave, and its normal map turns them by a further 15 degrees to the right."""
    head = as_head(template)
    own = layout(template, head.vertices)
    assert own.mesh.normals is not None
    plain = own.mesh.normals[own.vertex]
    places = head.vertices[own.vertex]
    bent = unit(plain + 0.3 * np.sin(places[:, 1:2] / 8) * [0.0, 1.0, 0.0])
    skin = template.triangle_part == Part.SKIN
    turn = np.radians(15.0)
    colour = np.rint(255 * (0.5 + 0.5 * np.array([np.sin(turn), 0.0, np.cos(turn)]))).astype(np.uint8)
    source = Textured(places, own.faces[skin], template.uv, np.zeros((64, 64, 3), np.uint8), bent)
    given = tangents(places, bent, template.uv, own.faces[skin])
    wanted = unit(np.cos(turn) * bent + np.sin(turn) * given[:, :3])

    made = TemplateRelief.of(head, source, np.full((256, 256, 3), colour))
    texels = Texels.of(own, 256)
    face = inner_face(template)[own.vertex[own.faces]].all(axis=1)
    seen = np.flatnonzero(face[texels.face])
    axes = axes_at(own.faces[texels.face[seen]], texels.weights[seen], plain, made.tangents)
    found = decoded(made.image.reshape(-1, 3)[texels.index[seen]].astype(float), axes)
    expected = unit(np.einsum("kc,kcd->kd", texels.weights[seen], wanted[own.faces[texels.face[seen]]]))
    off = np.degrees(np.arccos((found * expected).sum(1).clip(-1, 1)))
    assert np.median(off) < 1.0
    assert np.median(np.degrees(np.arccos((axes[2] * expected).sum(1).clip(-1, 1)))) > 10.0
    lining = texels.index[template.triangle_part[texels.face] == Part.LINING]
    np.testing.assert_array_equal(made.image.reshape(-1, 3)[lining], np.tile(FLAT, (len(lining), 1)))


def test_folded_skin_is_on_the_upper_lids_and_continues_the_skin_around(template: Template) -> None:
    hidden = folded(template)
    on = hidden > 0.9
    for pivot, radius in zip(template.pivots, template.radii, strict=True):
        away = template.vertices[on & (np.linalg.norm(template.vertices - pivot, axis=1) < 2 * radius)] - pivot
        assert len(away) > 20
        assert away[:, 1].mean() > 0  # above the middle of its eye
    colours = np.where(hidden[:, None] > 0, 0.02, 0.6) * np.ones((1, 3))  # lashes in the photo, skin around
    found = lid_colours(template, template.vertices, colours.astype(np.float32))
    brightness = found.colours[on].mean(1)
    assert np.quantile(brightness, 0.6) > 0.4  # the edge has lashes
    assert brightness.min() > 0.2
    assert brightness.std() > 0.01  # a lid is rounded, not flat
    assert found.share[on].min() > 0.7
    far = np.linalg.norm(template.vertices[:, None] - template.pivots, axis=2).min(1) > 3 * template.radii.max()
    assert (found.share[far] == 0).all()


def test_a_closed_lid_has_the_shade_of_its_slope(template: Template) -> None:
    normals = np.array(Trimesh(template.vertices, template.triangles, process=False).vertex_normals)
    lit = np.exp(0.3 * normals[:, 1:2])  # light from above
    above, beside = (
        lid_colours(template, template.vertices, (0.4 * shade).repeat(3, 1).astype(np.float32)).colours.mean(1)
        for shade in (lit, np.ones_like(lit))
    )
    chosen = folded(template) > 0.9
    slope = np.polyfit(normals[chosen, 1], np.log(above[chosen] / beside[chosen]), 1)[0]
    assert slope > 0.05


def test_the_table_judges_the_means() -> None:
    text = table([Measured("one", 1.0, 0.4, 0.5, 0.5, 0, 0.1), Measured("other", 2.0, 0.8, 1.5, 1.5, 3, 0.2)])
    assert "landmarks 1.50 <= 2" in text
    assert "face 0.60 and skin 1.00 <= 2" in text
    assert "0.150 <= 0.2" in text
    assert "flipped 3" in text
