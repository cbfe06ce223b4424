"""Textured assets of a bust whose colours are known: mesh, atlas, baked texture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import fast_simplification
import numpy as np
import pytest
import torch
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from painted import GREY, Painted, paint, painted, photograph, with_a_knob
from protome.asset.asset import Asset, make_asset
from protome.asset.atlas import make_atlas
from protome.asset.charts import Part, is_disc
from protome.asset.decimate import decimated, is_closed
from protome.asset.flatten import crosses_itself, flattened
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.asset.texels import Texels
from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.meshing.solid import euler_characteristic
from protome.render.cast import cast

FACES = 12_000


def sources(head: Painted) -> list[Source]:
    return [Source.of(view, view.camera) for view in head.views]


def asset(head: Painted, own: list[Source] | None = None) -> Asset:
    options = AssetOptions(texture=1024, faces=FACES)
    return make_asset(head.mesh, head.grey, sources(head) if own is None else own, options)


@pytest.fixture(scope="module")
def three() -> Painted:
    return painted((0.0, 60.0, -60.0))


@pytest.fixture(scope="module")
def made(three: Painted) -> Asset:
    return asset(three)


def shown(made: Asset, image: np.ndarray | None = None) -> tuple[Texels, np.ndarray, np.ndarray]:
    """Return the texels, the points of the surface that they show, and their colours in [0, 1]."""
    texels = Texels.of(made.atlas, 1024)
    picture = made.colour if image is None else image
    colours = picture.reshape(-1, *picture.shape[2:])[texels.index] / 255.0
    return texels, texels.interpolated(made.atlas.mesh.vertices), colours


def test_decimation_keeps_a_closed_piece_and_the_shape(three: Painted) -> None:
    light = decimated(three.mesh, FACES)
    assert 0.8 * FACES < len(light.faces) <= FACES
    assert is_closed(light)
    assert euler_characteristic(light.faces) == 2
    volume = light.to_trimesh().volume / three.mesh.to_trimesh().volume
    assert volume == pytest.approx(1, abs=2e-3)
    base = light.vertices[light.vertices[:, 1] < light.vertices[:, 1].min() + 0.5, 1]
    assert np.ptp(base) == 0


def test_the_face_has_more_triangles_than_cloth(three: Painted) -> None:
    light = decimated(three.mesh, FACES)
    corners = light.vertices[light.faces]
    centre = corners.mean(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    face = np.linalg.norm(centre - [0, -20, 0], axis=1) < 70
    cloth = (centre[:, 1] < -215) & (centre[:, 1] > light.vertices[:, 1].min() + 1)
    assert np.median(area[face]) < 0.6 * np.median(area[cloth])


def test_a_mesh_whose_parts_grow_together_gets_fewer_triangles(three: Painted, monkeypatch: pytest.MonkeyPatch) -> None:
    simplify = fast_simplification.simplify

    def torn(vertices: np.ndarray, faces: np.ndarray, target_count: int) -> tuple[np.ndarray, np.ndarray]:
        vertices, faces = simplify(vertices, faces, target_count=target_count)
        return vertices, faces if target_count < 0.75 * FACES else faces[1:]

    monkeypatch.setattr(fast_simplification, "simplify", torn)
    light = decimated(three.mesh, FACES)
    assert 0.6 * FACES < len(light.faces) <= 0.75 * FACES
    assert is_closed(light)


def test_all_faces_can_be_kept(three: Painted) -> None:
    assert len(decimated(three.mesh, len(three.mesh.faces)).faces) == len(three.mesh.faces)


def test_charts_are_discs_and_the_face_is_one_with_twice_the_texels(made: Asset) -> None:
    atlas = made.atlas
    for chart in np.unique(atlas.chart):
        assert is_disc(atlas.mesh.faces[atlas.chart == chart])
    face = atlas.chart == Part.FACE
    assert not (atlas.chart[~face] % len(Part) == Part.FACE).any()
    centre = atlas.mesh.vertices[atlas.mesh.faces].mean(1)
    frontal = np.linalg.norm(centre - [0, -20, 5], axis=1) < 60
    assert face[frontal].all()
    density = atlas.density()
    assert np.median(density[face]) > 2 * np.quantile(density[~face], 0.75)
    assert np.quantile(density[face], 0.05) > 0.6 * np.median(density[face])


def test_no_two_faces_share_a_texel(made: Asset) -> None:
    atlas = made.atlas
    assert atlas.uv.min() > 0
    assert atlas.uv.max() < 1
    plane = np.concatenate([atlas.uv * 1024, np.zeros((len(atlas.uv), 1))], 1)
    caster = RayMeshIntersector(Trimesh(plane, atlas.faces, process=False))
    places = np.random.default_rng(0).uniform(0, 1024, (20_000, 2))
    origins = np.concatenate([places, np.ones((len(places), 1))], 1)
    _, ray = caster.intersects_id(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape), multiple_hits=True)
    assert np.bincount(ray).max() == 1
    # Charts are seen from outside: none is mirrored.
    a, b, c = np.moveaxis(atlas.uv[atlas.faces], 1, 0)
    assert ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0).all()


def test_atlas_and_mesh_are_one_surface(made: Asset) -> None:
    np.testing.assert_array_equal(made.atlas.vertex[made.atlas.faces], made.atlas.mesh.faces)


def test_an_outline_that_crosses_itself_is_found() -> None:
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert not crosses_itself(square)
    assert crosses_itself(square[[0, 1, 3, 2]])


def test_texels_know_their_points(made: Asset) -> None:
    texels = Texels.of(made.atlas, 256)
    assert texels.weights.min() > -1e-3
    np.testing.assert_allclose(texels.weights.sum(1), 1, atol=1e-5)
    # Each uv coordinate, interpolated as a value of the corners, is the texel's own place.
    for part in (Part.FACE, Part.LEFT):
        own = np.unique(made.atlas.faces[made.atlas.chart == part])
        values = np.full((len(made.atlas.mesh.vertices), 2), np.nan)
        values[made.atlas.vertex[own]] = made.atlas.uv[own]
        inner = ~np.isnan(texels.interpolated(values)).any(1)
        chart = np.isin(texels.corners, made.atlas.vertex[own]).all(1) & inner
        place = np.stack([texels.index % 256 + 0.5, texels.index // 256 + 0.5], 1) / 256
        apart = np.abs(texels.interpolated(values)[chart] - place[chart]).max(1)
        assert np.median(apart) < 1e-4


def test_texels_between_charts_have_the_nearest_ones_colour() -> None:
    texels = Texels(
        4, np.array([0, 15]), np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
    )
    image = texels.image(np.array([10, 20], np.uint8))
    assert image[0].tolist()[:3] == [10, 10, 10]
    assert image[3].tolist()[1:] == [20, 20, 20]


def test_seen_texels_have_the_true_colour(made: Asset) -> None:
    texels, points, colours = shown(made)
    seen = texels.interpolated(made.atlas.mesh.visibility) > 0.6  # type: ignore[arg-type]
    apart = np.abs(colours - paint(points))[seen]
    assert seen.sum() > 100_000
    assert apart.mean() < 0.012
    assert np.quantile(apart, 0.99) < 0.06
    visibility = made.visibility.reshape(-1)[texels.index]
    assert visibility[seen].min() > 140
    assert visibility[points[:, 2] < -175].max() == 0


def test_the_background_does_not_bleed_in(made: Asset) -> None:
    _, _, colours = shown(made)
    magenta = colours[:, [0, 2]].min(1) - colours[:, 1]
    truth = paint(np.random.default_rng(0).uniform(-300, 100, (100_000, 3)))
    assert magenta.max() < (truth[:, [0, 2]].min(1) - truth[:, 1]).max() + 0.1


def test_unseen_texels_have_the_renderers_colour(made: Asset) -> None:
    _, points, colours = shown(made)
    back = (points[:, 2] < -150) & (points[:, 1] > -60)
    assert back.sum() > 10_000
    assert np.abs(np.median(colours[back], axis=0) - GREY).max() < 0.12


def test_what_is_hidden_does_not_get_the_colour_of_what_hides_it() -> None:
    def green(points: np.ndarray) -> np.ndarray:
        return np.where(points[:, 2:] > 16, [[0.0, 1.0, 0.0]], [[0.8, 0.5, 0.4]])

    knob = painted((0.0,), with_a_knob)
    knob = replace(knob, views=photograph(knob.mesh, (0.0,), green))
    _, points, colours = shown(asset(knob))
    ball = points[:, 2] > 30
    behind = (np.hypot(points[:, 0], points[:, 1] + 10) < 24) & (points[:, 2] > 0) & (points[:, 2] < 14)
    assert (colours[ball, 1] - colours[ball, 0]).max() > 0.5
    assert behind.sum() > 500
    assert np.quantile((colours[:, 1] - colours[:, 0])[behind], 0.9) < 0.1


def test_the_other_half_of_a_face_is_the_mirror_image() -> None:
    side = painted((55.0,))
    symmetric = replace(side, views=photograph(side.mesh, (55.0,), lambda points: paint(np.abs(points))))
    made = asset(symmetric)
    texels, points, colours = shown(made)
    hidden = texels.interpolated(made.atlas.mesh.visibility) == 0  # type: ignore[arg-type]
    cheek = hidden & (points[:, 0] < -45) & (points[:, 2] > -60) & (points[:, 1] > -60)
    assert cheek.sum() > 5_000
    apart, grey = (np.abs(colours - other)[cheek].mean() for other in (paint(np.abs(points)), GREY))
    assert apart < 0.5 * grey


def test_with_three_photos_an_outlier_is_left_out() -> None:
    head = painted((0.0, 35.0, -35.0))
    image = head.views[0].image.clone()
    image[150:200, 160:200] = torch.tensor([1.0, 1.0, 1.0])
    spoiled = replace(head, views=(replace(head.views[0], image=image), *head.views[1:]))
    _, points, colours = shown(asset(spoiled))
    spot, _ = Source.of(head.views[0], head.views[0].camera).project(points)
    front = (points[:, 2] > 0) & (np.abs(points[:, 0]) < 15)
    stained = front & (spot[:, 0] > 160) & (spot[:, 0] < 200) & (spot[:, 1] > 150) & (spot[:, 1] < 200)
    assert stained.sum() > 3_000
    assert np.abs(colours - paint(points))[stained].mean() < 0.06


def test_exposures_are_undone_and_leave_no_seam(three: Painted) -> None:
    gains = np.array([[1.0, 1.0, 1.0], [1.15, 1.1, 1.2], [0.9, 0.85, 0.8]])
    views = [
        replace(view, image=view.image * torch.from_numpy(gain).float())
        for view, gain in zip(three.views, gains, strict=True)
    ]
    own = [Source.of(view, view.camera, gain) for view, gain in zip(views, gains, strict=True)]
    made = asset(three, own)
    texels, points, colours = shown(made)
    seen = texels.interpolated(made.atlas.mesh.visibility) > 0.6  # type: ignore[arg-type]
    assert np.abs(colours - paint(points))[seen].mean() < 0.012
    # Even unknown exposures leave no step where one photo's part ends: neighbours differ as they truly do.
    made = asset(three, [Source.of(view, view.camera) for view in views])
    _, points, colours = shown(made)
    beside = np.flatnonzero(np.diff(Texels.of(made.atlas, 1024).index) == 1)
    steps, true = (np.abs(np.diff(values, axis=0))[beside][seen[beside]] for values in (colours, paint(points)))
    assert np.quantile(steps, 0.999) < 1.3 * np.quantile(true, 0.999) + 0.01


def test_the_light_of_each_photo_is_taken_out(three: Painted) -> None:
    def lit(slope: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda normals: np.exp(slope * normals[:, :1] * [1.0, 0.8, 0.6])

    shades, views = [lit(0.0), lit(0.5), lit(-0.5)], []
    for view, shade in zip(three.views, shades, strict=True):
        hits = cast(three.mesh, view.camera)
        image = view.image.reshape(-1, 3).clone()
        corners = three.grey(three.mesh).normals[three.mesh.faces[hits.faces.numpy()]]  # type: ignore[index]
        own = (hits.weights.double().numpy()[..., None] * corners).sum(1)
        image[hits.pixel] = image[hits.pixel] * torch.from_numpy(shade(own)).float()
        views.append(replace(view, image=image.reshape(view.image.shape)))
    errors = {}
    for known in (True, False):
        own_sources = [
            Source.of(view, view.camera, shade=shade if known else None)
            for view, shade in zip(views, shades, strict=True)
        ]
        found = asset(three, own_sources)
        texels, points, colours = shown(found)
        seen = texels.interpolated(found.atlas.mesh.visibility) > 0.6  # type: ignore[arg-type]
        errors[known] = np.abs(colours - paint(points))[seen].mean()
    assert errors[True] < 0.03
    assert errors[True] < 0.5 * errors[False]


def test_texture_is_as_sharp_as_the_photos(made: Asset, three: Painted) -> None:
    texels, points, colours = shown(made)
    frontal = texels.interpolated(made.atlas.mesh.normals)[:, 2] > 0.8  # type: ignore[arg-type]
    beside = np.flatnonzero(np.diff(texels.index) == 1)
    beside = beside[frontal[beside]]
    slope, true = (np.abs(np.diff(values, axis=0))[beside].mean() for values in (colours, paint(points)))
    assert slope / true == pytest.approx(1, abs=0.08)


def test_normals_are_the_fields_and_the_base_points_down(made: Asset) -> None:
    normals = made.normals()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    face = (made.vertices()[:, 2] > -20) & (np.abs(made.vertices()[:, 1]) < 40)
    outwards = (made.vertices() - [0.0, -5.0, -85.0]) / np.array([82.0, 112.0, 98.0]) ** 2
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert ((outwards * normals).sum(1)[face] > 0.995).all()
    base = np.unique(made.atlas.faces[made.atlas.chart % len(Part) == Part.BASE])
    assert (normals[base, 1] == -1).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((512, "60000", "glb", "unlit"), "a texture of 512 pixels is not offered: use one of 1024, 2048, 4096"),
        ((1024, "many", "glb", "unlit"), "many is no number of faces: give 2000 to 2000000, or all"),
        ((1024, "12", "glb", "unlit"), "12 faces make no usable head: give 2000 to 2000000, or all"),
        ((1024, "all", "glb,fbx", "unlit"), "no format is called fbx: use one or more of glb, obj, ply, stl, usdz"),
        ((1024, "all", ",", "unlit"), "no format was named: use one or more of glb, obj, ply, stl, usdz"),
        ((1024, "all", "glb", "shiny"), "no material is called shiny: use one of unlit, pbr"),
    ],
)
def test_unknown_options_are_one_sentence(words: tuple[int, str, str, str], sentence: str) -> None:
    texture, faces, formats, material = words
    with pytest.raises(InputError) as raised:
        AssetOptions.parse(texture, faces, formats, material, False, False)  # type: ignore[arg-type]
    assert str(raised.value) == sentence


def test_options_are_read_from_words() -> None:
    assert AssetOptions.parse(4096, "all", "GLB, stl,glb", "pbr", True, False) == AssetOptions(
        4096, None, ("glb", "stl"), "pbr", True
    )


def test_a_small_mesh_gets_an_atlas_too(three: Painted) -> None:
    light = decimated(three.mesh, 2_000)
    atlas = make_atlas(light)
    assert len(atlas.faces) == len(light.faces)
    assert is_closed(Mesh(light.vertices, light.faces))


def test_a_chart_with_a_triangle_without_area_is_no_map() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]])
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 5, 4], [2, 3, 5], [3, 0, 5], [0, 4, 5]])
    flat = flattened(Mesh(square, faces))
    assert flat is None or np.isfinite(flat).all()
