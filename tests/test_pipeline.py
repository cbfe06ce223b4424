"""The whole path on a synthetic person: a posed scene folder in, files out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from heads import Person, draw_person, photograph, some_world
from protome.asset.options import AssetOptions
from protome.cli_outputs import HEAD_FILES
from protome.errors import InputError
from protome.evaluate.metrics import surface_distances
from protome.face import LANDMARK_NAMES
from protome.fit.config import FIT_PRESETS
from protome.fit.options import FitOptions
from protome.geometry.align import Surface, icp
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.measures import measures, reference_points
from protome.meshing.extract import extract_mesh
from protome.meshing.solid import genus
from protome.pipeline import Head, reconstruct
from protome.prior.prior import Prior, load_head
from protome.render.cast import cast
from protome.scene import VideoFrame
from protome.scenes.idr import write_idr
from protome.units import UNIT_MM
from protome.util.content import SWITCH


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_person(seed=84, prior=Prior.load())


@pytest.fixture(scope="module")
def out(person: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    write_idr(folder / "scene", photograph(person, (0.0, 35.0, -35.0), 192, some_world()).views)
    return folder


@pytest.fixture(scope="module")
def head(out: Path) -> Head:
    brief = FitOptions(budget="90")
    head = reconstruct([out / "scene"], preset="draft", resolution=128, seed=2, options=brief, quiet=True)
    head.save(out / "result", ["protome", "reconstruct", "scene"], AssetOptions(texture=1024, faces=20_000))
    return head


@pytest.fixture
def small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of small pictures, without the phase for colours alone and without the preparation of long fits."""
    draft = FIT_PRESETS["draft"]
    schedule, tracing = replace(draft.schedule, colours=0), replace(draft.tracing, baked_mm=0.0)
    monkeypatch.setitem(FIT_PRESETS, "draft", replace(draft, size=64, schedule=schedule, tracing=tracing))


@pytest.mark.usefixtures("head")
def test_the_posed_path_finds_the_head_in_its_world_and_beats_the_mean_head(person: Person, out: Path) -> None:
    written = Mesh.load(out / "result" / "head.ply")
    face = person.face()
    error = float(surface_distances(face, written.transformed(some_world().inverse())).mean()) * UNIT_MM
    # The mean head gets all that the result has to find: it starts at the true place, and turns, moves and scales to
    # where it fits the true face best.
    mean = Surface(extract_mesh(person.prior.bind(person.prior.mean()), person.prior.bounds, 128))
    best = icp(face, mean, dof="similarity").target_from_source
    mean_error = float(mean.closest(best.apply_numpy(face)).distances.mean() / best.scale) * UNIT_MM
    # This person differs from the mean by 2 mm; three photos, 192 pixels wide, recover three quarters of it.
    assert mean_error > 1.5
    assert error < 0.5 * mean_error
    assert written.colours is not None


@pytest.mark.usefixtures("small_fits")
def test_cameras_are_refined_by_default(head: Head, out: Path) -> None:
    assert head.fit.cameras is not None
    exact = FitOptions(budget="2", refine_cameras=False)
    given = reconstruct([out / "scene"], preset="draft", resolution=48, seed=2, options=exact, quiet=True)
    assert given.fit.cameras is None
    one = reconstruct([out / "scene"], views=["000.png"], preset="draft", resolution=48, options=FitOptions(budget="2"),
                      quiet=True)  # fmt: skip
    assert one.fit.cameras is None


def test_glb_is_in_metres_in_the_head_frame_and_textured(head: Head, out: Path) -> None:
    metres = Mesh.load(out / "result" / "head.glb")
    away = Surface(head.mesh).closest(1000 * metres.vertices).distances
    assert away.max() < 1.0
    height = float(np.ptp(metres.vertices[:, 1]))
    assert 0.3 < height < 0.5
    (part,) = trimesh.load_scene(out / "result" / "head.glb").geometry.values()
    assert part.visual.material.baseColorTexture.size == (1024, 1024)


def test_the_texture_shows_what_the_photos_show(head: Head) -> None:
    made = head.asset(AssetOptions(texture=1024, faces=20_000))
    assert genus(made.atlas.mesh.faces) == 0
    view, camera = head.scene.views[0], head.camera(0)
    hits = cast(made.atlas.mesh, camera)
    uv = (made.atlas.uv[made.atlas.faces[hits.faces.numpy()]] * hits.weights.numpy()[..., None]).sum(1)
    seen = made.colour[(uv[:, 1] * 1024).astype(int), (uv[:, 0] * 1024).astype(int)] / 255
    truth = view.image.reshape(-1, 3)[hits.pixel].numpy()
    inside = (view.mask.reshape(-1)[hits.pixel] > 0.5).numpy()
    # One texture colours all three photos; the renderer's own colours differ from the photos by much more.
    assert np.abs(seen - truth)[inside].mean() < 0.03


def test_a_disk_that_fills_leaves_the_old_result(
    head: Head, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (out / "result").iterdir():
        (tmp_path / path.name).write_text(f"old {path.name}")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("protome.pipeline.save_capture_sheet", full)
    with pytest.raises(InputError, match="No space left on device"):
        head.save(tmp_path, (), AssetOptions(formats=("ply",)), report=False)
    assert {path.name for path in tmp_path.iterdir()} == set(HEAD_FILES)
    assert all(path.read_text() == f"old {path.name}" for path in tmp_path.iterdir())


def test_colours_are_those_of_the_person(person: Person, head: Head) -> None:
    truth = photograph(person, (10.0,), 96, Similarity.identity()).views[0]
    # head.render takes millimetres; the test's cameras are in inner units.
    seen = head.render(truth.camera.transformed(Similarity.scaling(UNIT_MM)))
    both = seen.mask & (truth.mask > 0.5)
    assert float(both.sum()) > 0.8 * float(truth.mask.sum())
    assert float((seen.colour - truth.image).abs()[both].mean()) < 0.12


def test_the_mesh_that_was_sought_beside_the_colours_is_that_of_the_fitted_field(head: Head) -> None:
    again = extract_mesh(head.fit.head.bind(), head.fit.head.bounds, 128).scaled(UNIT_MM)
    np.testing.assert_array_equal(head.mesh.faces, again.faces)
    np.testing.assert_array_equal(head.mesh.vertices, again.vertices)
    np.testing.assert_array_equal(head.mesh.colours, again.colours)


def test_the_saved_field_is_the_fitted_field(head: Head, out: Path) -> None:
    field, bounds = load_head(out / "result" / "field.safetensors")
    points = bounds[0] + torch.rand(200, 3) * (bounds[1] - bounds[0])
    torch.testing.assert_close(field.sdf(points), head.fit.head.bind().sdf(points))


def test_the_result_file_records_the_settings(head: Head, out: Path) -> None:
    assert {path.name for path in (out / "result").iterdir()} == set(HEAD_FILES)
    facts = json.loads((out / "result" / "result.json").read_text())
    assert facts["command"] == ["protome", "reconstruct", "scene"]
    assert facts["seed"] == 2
    assert facts["device"] == "cpu" or facts["device"].startswith("cuda")
    assert set(facts["seconds"]) == {"capture", "prior", "fit", "mesh", "asset"}
    assert len(facts["cameras"]) == 3
    assert len(facts["curves"]["colour"]) == len(head.fit.curves["colour"])
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    rotation = np.array(facts["cameras"][0]["T_head_camera"])[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    for camera in facts["cameras"]:
        # The photos are of the head and have no landmarks of their own here, or some that fit.
        assert camera["residual"]["outline_iou"] > 0.8
        assert (camera["residual"]["landmarks_mm"] or 0) < 10


@pytest.mark.usefixtures("head")
def test_the_result_file_has_the_sizes_of_the_person(person: Person, out: Path) -> None:
    found = json.loads((out / "result" / "result.json").read_text())["measures_mm"]
    mean = reference_points() / UNIT_MM
    truth = UNIT_MM * person.prior.points_of(person.prior.field, person.latents, mean).double().numpy()
    wanted = measures(Mesh.load(out / "result" / "head.ply"), truth)
    names = ("between the eyes' middles", "face width", "nose width", "face height, nasion to chin", "mouth width")
    ratio = np.array([found[name] / wanted[name] for name in names])
    # The scene's unit is not told, so that millimetres are those of a mean face; the proportions are the person's.
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.05
    assert np.abs(ratio - 1).max() < 0.1


def test_result_names_the_frames_of_videos_and_what_a_batch_calls_its_inputs(
    head: Head, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "a hash")
    first, *others = head.scene.views
    marked = replace(first, frame=VideoFrame("turn.mp4", 12, 0.48))
    filmed = replace(head, scene=replace(head.scene, views=(marked, *others)))
    filmed.save(out / "video", (), AssetOptions(formats=("ply",)), report=False)
    facts = json.loads((out / "video" / "result.json").read_text())
    cameras = facts["cameras"]
    assert facts["content_hash"] == "a hash"
    assert "content_hash" not in json.loads((out / "result" / "result.json").read_text())
    assert cameras[0]["frame"] == {"video": "turn.mp4", "index": 12, "seconds": 0.48}
    assert [camera["frame"] for camera in cameras[1:]] == [None] * len(others)


def test_the_preview_shows_something_in_every_tile(head: Head, out: Path) -> None:
    sheet = np.asarray(Image.open(out / "result" / "preview.png")).astype(float)
    rows, columns = 2, 5
    size = sheet.shape[0] // rows
    assert sheet.shape == (rows * size, columns * size, 3)
    for row in range(rows):
        for column in range(columns):
            tile = sheet[row * size : (row + 1) * size, column * size : (column + 1) * size]
            assert tile.std() > 15, (row, column)


def test_vertices_have_their_visibility(head: Head, out: Path) -> None:
    seen = Mesh.load(out / "result" / "head.ply").visibility
    assert seen is not None
    assert head.mesh.normals is not None
    front, back = head.mesh.normals[:, 2] > 0.9, head.mesh.normals[:, 2] < -0.9
    face = front & (np.abs(head.mesh.vertices) < [60, 90, 200]).all(1)  # not the chest, which the photos cut off
    assert np.median(seen[face]) > 0.9
    assert np.median(seen[back]) == 0


def test_landmarks_lie_where_the_mesh_is_and_where_the_person_has_them(person: Person, head: Head, out: Path) -> None:
    given = json.loads((out / "result" / "result.json").read_text())["landmarks"]
    assert tuple(given) == LANDMARK_NAMES
    found = torch.tensor(list(given.values()))
    truth = some_world().apply(person.prior.landmarks_of(person.prior.field, person.latents))
    away = (found - truth).norm(dim=1) * UNIT_MM / float(some_world().scale)
    assert float(away.max()) < 12
    assert float(away.mean()) < 6
    surface = Surface(Mesh.load(out / "result" / "head.ply"))
    assert surface.closest(found.double().numpy()).distances.max() * UNIT_MM / float(some_world().scale) < 4


@pytest.mark.usefixtures("small_fits")
def test_another_method_a_budget_and_refined_cameras(out: Path) -> None:
    options = FitOptions("deform", "12", refine_cameras=True)
    head = reconstruct([out / "scene"], preset="draft", resolution=48, seed=2, options=options, quiet=True)
    assert 8 <= len(head.fit.curves["colour"]) <= 12
    assert head.fit.cameras is not None
    for view, given in zip(head.scene.views, head.fit.cameras, strict=True):
        assert torch.equal(view.camera.T_world_camera, given.T_world_camera)
    with pytest.raises(InputError, match="no method is called best: use one of"):
        reconstruct([out / "scene"], options=FitOptions("best"))
    with pytest.raises(InputError, match="a budget of soon means nothing"):
        reconstruct([out / "scene"], options=FitOptions(budget="soon"))
