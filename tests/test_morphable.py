"""Mesh head models: stages, derivatives, files, closed holes, and the model that ships with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from protome.errors import InputError
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.morphable.holes import boundary_loops, ladder
from protome.morphable.ibug import GROUPS, from_mediapipe
from protome.morphable.ict import load_ict
from protome.morphable.linear import load_builtin, load_linear, save_linear
from protome.morphable.model import MorphableModel, SurfaceAnchors


def small_model() -> MorphableModel:
    """A ball with a few random components, in double precision."""
    ball = trimesh.creation.icosphere(2, 90.0)
    random = np.random.default_rng(3)
    count, faces = len(ball.vertices), len(ball.faces)

    def points(number: int) -> SurfaceAnchors:
        weights = torch.from_numpy(random.dirichlet([1, 1, 1], number)).float()
        return SurfaceAnchors(torch.from_numpy(random.integers(faces, size=number)), weights, torch.ones(number))

    def moves(number: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(0, 2, (number, count, 3))).float()

    return MorphableModel(
        "ball", torch.from_numpy(np.array(ball.vertices)).float(), torch.from_numpy(np.array(ball.faces)).long(),
        moves(5), moves(3), ("a", "b", "c"), torch.tensor([0.3, 0.4, 0.5]), points(68), points(468),
    )  # fmt: skip


def test_stages_add_up_what_changes_a_head() -> None:
    model = small_model()
    identity, expression = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.5]), torch.tensor([0.2, 0.0, -1.0])
    pose = Similarity(rotation_from_vector(torch.tensor([0.3, -0.2, 0.1])), torch.tensor([5.0, 6, 700]), torch.ones(()))
    posed = model.with_shape(identity).with_expression(expression).with_pose(pose)
    expected = model.template.clone()
    for coefficient, move in zip([*identity, *expression], [*model.identity, *model.expression], strict=True):
        expected += coefficient * move
    expected = expected @ pose.rotation.T + pose.translation
    torch.testing.assert_close(posed.vertices, expected, atol=1e-3, rtol=1e-5)
    corner = expected[model.faces[model.landmarks.faces[40]]]
    torch.testing.assert_close(posed.landmarks()[40], model.landmarks.weights[40] @ corner, atol=1e-3, rtol=1e-5)


def test_a_part_of_a_model_moves_its_points_as_the_whole_does() -> None:
    model = small_model()
    assert model.dense is not None
    part = model.only(model.dense)
    identity = torch.randn(5)
    whole = model.with_shape(identity).neutral().with_pose(Similarity.identity())
    own = part.with_shape(identity).neutral().with_pose(Similarity.identity())
    torch.testing.assert_close(own.at(part.landmarks), whole.at(model.dense))


def test_derivatives_of_vertices_are_those_of_finite_differences() -> None:
    model = small_model().to(torch.float64)

    def vertices(unknowns: torch.Tensor) -> torch.Tensor:
        pose = Similarity(rotation_from_vector(unknowns[8:11]), unknowns[11:14], torch.ones((), dtype=torch.float64))
        return model.with_shape(unknowns[:5]).with_expression(unknowns[5:8]).with_pose(pose).vertices[::31]

    start = torch.randn(14, dtype=torch.float64) * 0.3
    assert torch.autograd.gradcheck(vertices, start.requires_grad_())


def test_moving_to_another_precision_keeps_whole_numbers() -> None:
    model = small_model().to(torch.float64)
    assert model.identity.dtype == torch.float64
    assert model.landmarks.weights.dtype == torch.float64
    assert model.faces.dtype == model.landmarks.faces.dtype == torch.int64


def test_linear_models_survive_a_file(tmp_path: Path) -> None:
    model = load_builtin()
    save_linear(model, tmp_path / "copy.npz", np.float16)
    again = load_linear(tmp_path / "copy.npz")
    for name in ("template", "faces", "identity", "expression", "expression_deviations"):
        torch.testing.assert_close(getattr(again, name), getattr(model, name), atol=0, rtol=0)
    for mine, theirs in ((model.landmarks, again.landmarks), (model.dense, again.dense)):
        assert mine is not None
        assert theirs is not None
        assert torch.equal(mine.faces, theirs.faces)
        assert torch.equal(mine.weights, theirs.weights)
        assert torch.equal(mine.deviations, theirs.deviations)
    assert again.chart is not None
    assert model.chart is not None
    assert torch.equal(again.chart.uv, model.chart.uv)
    assert (again.name, again.expression_names) == (model.name, model.expression_names)


def test_a_linear_model_needs_neither_expressions_nor_a_chart(tmp_path: Path) -> None:
    model = small_model()
    save_linear(replace(model, dense=None), tmp_path / "full.npz")
    with np.load(tmp_path / "full.npz") as stored:
        kept = {key: stored[key] for key in stored.files if not key.startswith("expression")}
    np.savez(tmp_path / "bare.npz", **kept)
    bare = load_linear(tmp_path / "bare.npz")
    assert bare.expression.shape == (0, len(model.template), 3)
    assert bare.dense is None
    assert bare.chart is None
    torch.testing.assert_close(bare.mean().neutral().vertices, model.template)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"identity": None}, "has no identity: give"),
        ({"landmark_faces": np.zeros(51, int)}, r"landmark_faces in .* has the shape \(51,\), not \(68,\)"),
        ({"faces": np.full((320, 3), 400)}, "faces in .* has indices out of range"),
        ({"template": np.full((162, 3), np.nan)}, "template in .* not finite"),
    ],
)
def test_bad_linear_models_are_refused(tmp_path: Path, change: dict[str, np.ndarray], sentence: str) -> None:
    path = tmp_path / "model.npz"
    save_linear(small_model(), path)
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files} | change
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=sentence):
        load_linear(path)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_linear(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="cannot be read"):
        load_linear(tmp_path / "text.npz")
    with pytest.raises(InputError, match="neither ict_facekit"):
        load_ict(tmp_path)


def test_a_hole_is_closed_by_triangles_that_face_the_same_way() -> None:
    ball = trimesh.creation.icosphere(3)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)
    open_faces = faces[vertices[faces].mean(1)[:, 2] < 0.9]
    (rim,) = boundary_loops(open_faces)
    for rungs in (0, 2):
        patch = ladder(rim, vertices, rungs, len(vertices))
        closed = trimesh.Trimesh(
            np.concatenate([vertices, patch.carry(vertices)]), np.concatenate([open_faces, patch.faces]), process=False
        )
        closed.remove_unreferenced_vertices()
        assert closed.is_watertight
        assert closed.is_winding_consistent
        # A cap of a ball of height h lacks pi h^2 (3 - h) / 3 of its volume.
        height = 1 - vertices[rim, 2].mean()
        assert closed.volume == pytest.approx(ball.volume - np.pi * height**2 * (3 - height) / 3, rel=2e-3)


def test_odd_holes_are_refused() -> None:
    with pytest.raises(InputError, match="even rims"):
        ladder(np.arange(5), np.random.default_rng(0).normal(size=(5, 3)), 0, 5)


def test_the_packaged_head_is_one_open_sheet_in_the_head_frame() -> None:
    model = load_builtin()
    mesh = model.mean().neutral().with_pose(Similarity.identity()).mesh().to_trimesh()
    assert mesh.body_count == 1
    assert mesh.is_winding_consistent
    (neck,) = boundary_loops(model.faces.numpy())
    assert mesh.vertices[neck, 1].max() < -110
    assert mesh.euler_number == 1  # a disc
    # Outwards: the volume over the neck's opening is a head's, in litres.
    assert 2.5e6 < mesh.volume < 5.5e6
    corners = model.landmarks.on(model.template, model.faces)[[36, 39, 42, 45]].mean(0)
    assert float(corners.norm()) < 3.0
    nose = model.template[model.template[:, 2].argmax()]
    assert abs(float(nose[0])) < 1.0
    assert -45 < float(nose[1]) < -25


def test_the_packaged_chart_overlaps_nowhere() -> None:
    model = load_builtin()
    assert model.chart is not None
    uv, faces = model.chart.uv.double().numpy(), model.chart.faces.numpy()
    assert uv.min() >= 0
    assert uv.max() <= 1
    a, b, c = (uv[faces[:, k]] for k in range(3))
    double = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert double.min() > 0  # no triangle is flipped, so the map could only overlap where its border crosses itself
    (border,) = boundary_loops(faces)
    ring = uv[border]
    edges = np.stack([ring, np.roll(ring, -1, 0)], 1)
    assert not _any_crossing(edges)
    # Points spread over the square lie in at most one triangle, and in as many as the area says.
    points = np.random.default_rng(0).random((700, 2))
    covered = np.array([_triangles_around(uv[faces], point) for point in points])
    assert covered.max() == 1
    assert covered.mean() == pytest.approx(double.sum() / 2, abs=0.07)
    # The same places of the surface belong together: triangles have the corners of the mesh's.
    places = np.full((len(uv), 3), np.nan)
    for k in range(3):
        own = model.template.numpy()[model.faces[:, k].numpy()]
        known = np.isfinite(places[faces[:, k], 0])
        assert (places[faces[known, k]] == own[known]).all()
        places[faces[:, k]] = own


def _triangles_around(triangles: np.ndarray, point: np.ndarray) -> int:
    inside = np.ones(len(triangles), bool)
    for k in range(3):
        a, b = triangles[:, k], triangles[:, (k + 1) % 3]
        inside &= (b - a)[:, 0] * (point[1] - a[:, 1]) - (b - a)[:, 1] * (point[0] - a[:, 0]) > 0
    return int(inside.sum())


def _any_crossing(edges: np.ndarray) -> bool:
    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.sign((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0])

    first, second = edges[:, None], edges[None]
    apart = side(first[..., 0, :], first[..., 1, :], second[..., 0, :]) * side(
        first[..., 0, :], first[..., 1, :], second[..., 1, :]
    )
    return bool(((apart < 0) & (apart.T < 0)).any())


def test_the_packaged_landmarks_lie_where_their_names_say() -> None:
    model, face = load_builtin(), load_face_landmarks()
    assert model.dense is not None
    dense = model.dense.on(model.template, model.faces)
    ibug = model.landmarks.on(model.template, model.faces)
    # The mean VALID head's landmarks are an independent table; this head is another mean, a few millimetres away.
    away = (dense - face.positions).norm(dim=1)
    assert float(away.median()) < 5.0
    inner = torch.arange(17, 68)
    assert float((ibug - face.positions[face.ibug68])[inner].norm(dim=1).median()) < 5.0
    torch.testing.assert_close(ibug, dense[face.ibug68])
    # The iBUG points of the right half mirror those of the left.
    for right, left in ((36, 45), (39, 42), (48, 54), (31, 35), (17, 26), (21, 22)):
        mirrored = ibug[left] * torch.tensor([-1.0, 1.0, 1.0])
        assert float((ibug[right] - mirrored).norm()) < 3.0
        assert float(ibug[right, 0]) < 0
    assert ibug[GROUPS["lips"], 1].mean() < ibug[GROUPS["nose"], 1].mean() < ibug[GROUPS["eyes"], 1].mean()
    assert ibug[GROUPS["eyes"], 1].mean() < ibug[GROUPS["brows"], 1].mean()
    assert float(ibug[30, 2]) > float(ibug[inner, 2].quantile(0.95))  # the tip of the nose


def test_ibug_points_are_picked_from_mediapipes() -> None:
    landmarks = torch.stack([torch.arange(478.0), -torch.arange(478.0)], 1)
    picked = from_mediapipe(landmarks)
    # From MediaPipe's published map of its face mesh: eye corners, nose tip, mouth corners, chin.
    for ibug, mediapipe in {36: 33, 39: 133, 42: 362, 45: 263, 30: 1, 48: 61, 54: 291, 8: 152, 33: 2}.items():
        if ibug == 30:
            assert int(picked[ibug, 0]) in (1, 4)
        else:
            assert int(picked[ibug, 0]) == mediapipe
    assert torch.equal(picked[:, 1], -picked[:, 0])
    assert from_mediapipe(landmarks.expand(3, -1, -1)).shape == (3, 68, 2)


def test_expressions_move_what_their_names_say() -> None:
    model = load_builtin()
    names = model.expression_names
    lids, jaw = names.index("eyeBlink_L"), names.index("jawOpen")
    size = model.expression.norm(dim=2)
    eye = model.landmarks.on(model.template, model.faces)[42:48].mean(0)
    assert float((model.template[size[lids].argmax()] - eye).norm()) < 15.0
    chin = model.landmarks.faces[8]
    assert float(model.expression[jaw][model.faces[chin]].mean(0)[1]) < -10.0
    # Half-way to an open mouth the rims of the lips are apart, with the patch between them.
    opened = model.mean().with_expression(0.5 * torch.eye(len(names))[jaw])
    assert float((opened.vertices - model.template).norm(dim=1).max()) > 8.0
