"""`protome evaluate`: the surface protocol on shapes of known distance, landmark files, pictures and the command."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import trimesh
from PIL import Image

from marked import body, marked, moved, now_rows, numbers, similarity, write_h3ds, write_obj, write_pp
from protome.cli import main
from protome.errors import InputError, ProtomeWarning
from protome.evaluate.figures import UNKNOWN, heat_colours, heat_limit, save_heatmap, upright
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh, load_mesh, read_landmarks
from protome.evaluate.report import measure_surface, report_evaluation, without_nan
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from test_evaluate_now import write_dataset

FAR = similarity([0.2, 2.2, -0.4], [120.0, 800.0, -300.0])


def ball(radii: tuple[float, float, float] = (100.0, 100.0, 100.0), subdivisions: int = 4) -> Mesh:
    """An ellipsoid with vertices on its axes."""
    shape = trimesh.creation.icosphere(subdivisions)
    return Mesh(np.asarray(shape.vertices) * radii, np.asarray(shape.faces, np.int64))


def with_nose(mesh: Mesh) -> MarkedMesh:
    return MarkedMesh(mesh, {"nose_tip": np.array([0.0, 0.0, 100.0])}, Path("ball.obj"))


def unmarked(mesh: Mesh) -> MarkedMesh:
    return MarkedMesh(mesh, {}, Path("prediction.obj"))


def at(mesh: Mesh, x: float, y: float, z: float) -> int:
    """The vertex at a place."""
    found = int(np.linalg.norm(mesh.vertices - [x, y, z], axis=1).argmin())
    np.testing.assert_allclose(mesh.vertices[found], [x, y, z], atol=1e-9)
    return found


# The surface protocol


def test_concentric_spheres_differ_by_their_radii() -> None:
    found = measure_surface(unmarked(ball((92.0, 92.0, 92.0))), with_nose(ball()), samples=4000)
    rows = {row.name: row.spread for row in found.rows}
    for name in ("head, truth to prediction", "head, prediction to truth"):
        assert rows[name].mean == pytest.approx(8.0, abs=0.05)
        assert rows[name].p90 == pytest.approx(8.0, abs=0.1)
    # The face is aligned on its own: half a sphere nearly fits into a smaller one.
    assert rows["face, truth to prediction"].mean < 2.0
    assert found.distances == pytest.approx(np.full(len(ball().vertices), 8.0), abs=0.1)


def test_an_ellipsoid_is_as_far_from_a_sphere_as_its_axes_say() -> None:
    truth = ball()
    found = measure_surface(unmarked(ball((90.0, 108.0, 96.0))), with_nose(truth), samples=4000)
    assert found.distances is not None
    # At the ends of the axes the nearest point lies straight below or above.
    for vertex, expected in (((100, 0, 0), 10.0), ((-100, 0, 0), 10.0), ((0, 100, 0), 8.0), ((0, 0, 100), 4.0)):
        assert found.distances[at(truth, *vertex)] == pytest.approx(expected, abs=0.15)


def test_a_known_motion_is_undone_from_landmarks_only() -> None:
    head = marked(body(4))
    found = measure_surface(moved(head, FAR), head, samples=4000)
    assert found.facts["start"] == "landmarks"
    np.testing.assert_allclose(found.facts["T_truth_prediction"]["head"], FAR.inverse().matrix(), atol=1e-4)
    assert all(row.spread.p90 < 0.01 for row in found.rows)
    lost = measure_surface(unmarked(moved(head, FAR).mesh), head, samples=4000)
    assert lost.facts["start"] == "as given"
    assert lost.rows[0].spread.mean > 1.0
    near = moved(head, similarity([0.05, -0.1, 0.0], [3.0, 5.0, -8.0])).mesh
    assert measure_surface(unmarked(near), head, samples=4000).rows[0].spread.p90 < 0.01


def test_an_error_of_scale_shows_unless_a_similarity_hides_it() -> None:
    head = marked(body(4))
    small = moved(head, similarity([0.2, 2.2, -0.4], [120.0, 800.0, -300.0], 0.9))
    rigid = measure_surface(small, head, samples=4000)
    assert rigid.facts["scale"] == {"face": 1.0, "head": 1.0}
    assert rigid.rows[3].name == "head, truth to prediction"
    assert rigid.rows[3].spread.mean > 3.0
    hidden = measure_surface(small, head, dof="similarity", samples=4000)
    assert hidden.facts["scale"]["head"] == pytest.approx(1 / 0.9, abs=1e-5)
    assert all(row.spread.p90 < 0.01 for row in hidden.rows)


def test_the_face_has_the_radius_that_is_asked_for() -> None:
    # A bump on the cheek, 70 mm from the nose, is in the wide face and not in the narrow one.
    truth = with_nose(ball(subdivisions=4))
    vertices = truth.mesh.vertices.copy()
    vertices[np.linalg.norm(vertices - [70.0, 0.0, 71.4], axis=1) < 10.0] *= 1.1
    prediction = unmarked(Mesh(vertices, truth.mesh.faces))
    assert measure_surface(prediction, truth, radius=50.0, samples=4000).rows[0].spread.mean < 0.02
    assert measure_surface(prediction, truth, radius=95.0, samples=4000).rows[0].spread.mean > 0.1


# Files of meshes and landmarks


def test_every_landmark_file_says_the_same(tmp_path: Path) -> None:
    mesh = body(3)
    head = marked(mesh)
    picks = numbers(mesh)
    places = {name: point.tolist() for name, point in head.landmarks.items()}
    files = {
        "h3ds.txt": "".join(f"{name} {number}\n" for name, number in picks.items()),
        "points.txt": "\n".join(f"{name} {x!r} {y!r} {z!r}" for name, (x, y, z) in places.items()),
        "numbers.json": json.dumps(picks),
        "points.json": json.dumps({"about": "a body", "landmarks": places}),
        "now.txt": "\n".join(" ".join(map(repr, row)) for row in now_rows(head).tolist()),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "now.npy", now_rows(head))
    write_pp(tmp_path / "now.pp", now_rows(head))
    for name in (*files, "now.npy", "now.pp"):
        found = read_landmarks(tmp_path / name, mesh)
        assert set(found) == (set(NOW_NAMES) if name.startswith("now") else set(picks)), name
        for key, point in found.items():
            np.testing.assert_allclose(point, head.landmarks[key], atol=1e-9, err_msg=name)


def test_an_obj_keeps_its_vertices_at_seams_and_its_polygons(tmp_path: Path) -> None:
    mesh = load_mesh(write_obj(tmp_path / "seams.obj", body(2), seams=True))
    np.testing.assert_array_equal(mesh.vertices, body(2).vertices)
    np.testing.assert_array_equal(mesh.faces, body(2).faces)
    (tmp_path / "quad.obj").write_text(
        "# a\nv 0 0 0 1 1 1\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf -4//1 -3//1 -2//1 -1//1\n"
    )
    np.testing.assert_array_equal(load_mesh(tmp_path / "quad.obj").faces, [[0, 1, 2], [0, 2, 3]])


def test_units_are_those_of_the_file_or_as_given(tmp_path: Path) -> None:
    mesh = body(2)
    mesh.scaled(0.001).save(tmp_path / "m.glb")
    mesh.save(tmp_path / "mm.ply")
    mesh.scaled(0.1).save(tmp_path / "cm.ply")
    (tmp_path / "names.txt").write_text("nose_tip 7\n")
    for name, units in (("m.glb", None), ("mm.ply", None), ("cm.ply", "cm")):
        head = MarkedMesh.load(tmp_path / name, tmp_path / "names.txt", units)
        np.testing.assert_allclose(head.mesh.vertices, mesh.vertices, atol=1e-3)
        np.testing.assert_allclose(head.landmarks["nose_tip"], mesh.vertices[7], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "", "a.csv is not a landmark file: give one of .txt, .json, .pp, .npy"),
        ("a.txt", "", "a.txt cannot be read as landmarks"),
        ("a.txt", "nose_tip 1\nleft_eye 1 2\n", "a.txt cannot be read as landmarks"),
        ("a.txt", "nose_tip one\n", "a.txt cannot be read as landmarks"),
        ("a.txt", "1 2 3\n4 5 6\n", "2 points without names, where NoW has 7"),
        ("a.txt", "nose_tip 400\n", "nose_tip in .*a.txt is vertex 400, but the mesh has 162 vertices"),
        ("a.txt", "nose_tip 1 2 nan\n", "nose_tip in .*a.txt is not a point"),
        ("a.json", "{", "a.json cannot be read as landmarks"),
        ("a.json", "[1, 2]", "a.json cannot be read as landmarks"),
        ("a.json", '{"nose_tip": [1, 2]}', "nose_tip in .*a.json is not a point"),
        ("a.json", '{"nose_tip": {"x": 1}}', "a.json cannot be read as landmarks"),
        ("a.pp", "<PickedPoints></PickedPoints>", "0 points without names, where NoW has 7"),
        ("a.npy", "no array", "a.npy cannot be read as landmarks"),
    ],
)
def test_bad_landmarks_are_explained(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_landmarks(tmp_path / name, body(2))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.xyz", "0 0 0", r"a.xyz is not a mesh file that can be read: give one of \.obj"),
        ("a.obj", "v 0 0 0\n", "a.obj holds no triangles: give a mesh with faces"),
        ("a.obj", "", "a.obj holds no triangles: give a mesh with faces"),
        ("a.obj", "v 0 0\nf 1 1 1\n", "line 1 of .*a.obj is not as in an OBJ file"),
        ("a.obj", "v 0 0 0\nf 1 2 3\n", "a.obj has faces of vertices that it does not hold"),
        ("a.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "a.obj holds vertices that are not finite"),
        ("a.ply", "no mesh", "a.ply cannot be read as a mesh"),
    ],
)
def test_bad_meshes_are_explained(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_mesh(tmp_path / name)


# Pictures


def test_colours_are_those_of_the_scale() -> None:
    colours = heat_colours(np.array([0.0, 1.0, 2.0, 7.0, np.nan]), 2.0)
    viridis = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(colours[:4], [viridis(value)[:3] for value in (0.0, 0.5, 1.0, 1.0)])
    np.testing.assert_allclose(colours[4], UNKNOWN)
    assert heat_limit(np.linspace(0, 1.5, 100)) == 2.0
    assert heat_limit(np.array([np.nan, 900.0])) == 50.0


def test_a_heat_map_has_the_right_colour_at_known_vertices(tmp_path: Path) -> None:
    truth = ball()
    found = measure_surface(unmarked(ball((91.0, 96.0, 95.0))), with_nose(truth), samples=4000)
    assert found.distances is not None
    save_heatmap(tmp_path / "heat.ply", truth, found.distances)
    read = Mesh.load(tmp_path / "heat.ply")
    np.testing.assert_allclose(read.vertices, truth.vertices, atol=1e-4)
    limit = heat_limit(found.distances)
    assert limit == 10.0
    assert read.colours is not None
    for vertex, distance in (((100, 0, 0), 9.0), ((0, 100, 0), 4.0), ((0, 0, 100), 5.0)):
        expected = matplotlib.colormaps["viridis"](distance / limit)[:3]
        np.testing.assert_allclose(read.colours[at(truth, *vertex)], expected, atol=0.03)


def test_a_picture_shows_colours_upright_beside_their_scale(tmp_path: Path) -> None:
    head = marked(body(4))
    known = np.where(head.mesh.vertices[:, 2] > 0, 1.0, 4.0)
    lying = moved(head, FAR)
    save_heatmap(tmp_path / "standing.png", head.mesh, known, head.landmarks, size=96)
    save_heatmap(tmp_path / "lying.png", lying.mesh, known, lying.landmarks, size=96)
    pixels = np.asarray(Image.open(tmp_path / "standing.png").convert("RGB")) / 255.0
    assert pixels.shape == (2 * 96, 3 * 96 + 110, 3)
    viridis = matplotlib.colormaps["viridis"]
    # The middle of the first view is the face, that of the one below it the back; the limit is 5 mm.
    np.testing.assert_allclose(pixels[48, 48], viridis(0.2)[:3], atol=0.08)
    np.testing.assert_allclose(pixels[144, 48], viridis(0.8)[:3], atol=0.08)
    # The scale holds colours of the map, dark below and light above.
    bar = pixels[20:172, 3 * 96 + 30]
    assert bar[30].sum() > bar[-20].sum() + 0.5
    turned = np.asarray(Image.open(tmp_path / "lying.png").convert("RGB")) / 255.0
    np.testing.assert_allclose(turned[48, 48], viridis(0.2)[:3], atol=0.08)
    np.testing.assert_allclose(turned[144, 48], viridis(0.8)[:3], atol=0.08)
    np.testing.assert_allclose(upright({}), np.eye(3))
    np.testing.assert_allclose(upright(head.landmarks), np.eye(3), atol=0.25)
    np.testing.assert_allclose(upright(lying.landmarks) @ FAR.rotation.numpy(), upright(head.landmarks), atol=1e-9)


# The command


def files(folder: Path) -> tuple[str, str, list[str]]:
    """Write a scan, a prediction far away from it, and the landmarks of both."""
    head = marked(body(4))
    write_obj(folder / "scan.obj", head.mesh)
    moved(head, FAR).mesh.save(folder / "head.ply")
    (folder / "names.json").write_text(json.dumps(numbers(head.mesh)))
    names = str(folder / "names.json")
    return str(folder / "head.ply"), str(folder / "scan.obj"), ["--landmarks", names, "--pred-landmarks", names]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["protome", "evaluate", *arguments])
    return main()


@pytest.mark.parametrize("protocol", ["surface", "h3ds", "now"])
def test_the_command_measures_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    prediction, scan, names = files(tmp_path)
    out, heat = tmp_path / "new" / "out.json", tmp_path / "new" / "heat.ply"
    wanted = ["--protocol", protocol, "--json", str(out), "--heatmap", str(heat)]
    if protocol == "now":
        wanted += ["--curve", str(tmp_path / "new" / "curve.png")]
    assert run(monkeypatch, prediction, scan, *names, *wanted) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["mean", "median", "90", "%", "std", "points", "unit"]
    facts = json.loads(out.read_text())
    assert facts["protocol"] == protocol
    assert len(facts["rows"]) == len(table) - 1
    for row, line in zip(facts["rows"], table[1:], strict=True):
        assert line.startswith(row["name"])
        assert line.split()[-6:-2] == [f"{row[key]:.3f}" for key in ("mean", "median", "p90", "std")]
    assert facts["rows"][0]["mean"] < 0.01
    matrix = np.array(facts["T_truth_prediction"]["face"] if protocol != "now" else facts["T_truth_prediction"])
    np.testing.assert_allclose(matrix, FAR.inverse().matrix(), atol=1e-2)
    painted = Mesh.load(heat)
    assert painted.colours is not None
    grey = np.isclose(painted.colours, UNKNOWN, atol=0.01).all(1)
    assert 0.3 < grey.mean() < 0.95 if protocol == "now" else not grey.any()
    if protocol == "now":
        assert facts["curve"]["percent"][-1] == 100.0
        assert Image.open(tmp_path / "new" / "curve.png").size == (640, 480)


def test_a_reader_that_has_ended_is_the_exit_code_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, truth, options = files(tmp_path)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert run(monkeypatch, prediction, truth, *options) == 141


def test_folders_of_now_are_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, data, pairs = write_dataset(tmp_path)
    with pytest.warns(ProtomeWarning, match="1 of 4 images have no prediction or no landmarks"):
        report_evaluation(predictions, data, protocol="now", out=tmp_path / "now.json", quiet=True)
    facts = json.loads((tmp_path / "now.json").read_text())
    assert [row["name"] for row in facts["rows"]] == ["all images", "multiview_neutral", "selfie"]
    pooled, neutral, selfie = facts["rows"]
    assert pooled["count"] == neutral["count"] + selfie["count"] == sum(image["count"] for image in facts["images"])
    mean = (neutral["mean"] * neutral["count"] + selfie["mean"] * selfie["count"]) / pooled["count"]
    assert pooled["mean"] == pytest.approx(mean)
    assert [image["name"] for image in facts["images"]] == list(pairs)
    assert facts["missing"] == ["FaMoS_2/selfie/IMG_1"]
    assert capsys.readouterr().out.count("\n") == 4


def test_a_folder_of_h3ds_brings_its_own_landmarks(tmp_path: Path) -> None:
    head = marked(body(3))
    scene = write_h3ds(tmp_path / "person", head.mesh, {"face": np.flatnonzero(head.mesh.vertices[:, 2] > 0)})
    head.mesh.save(tmp_path / "head.ply")
    for protocol in ("surface", "h3ds"):
        report_evaluation(tmp_path / "head.ply", scene, protocol=protocol, out=tmp_path / f"{protocol}.json")
        facts = json.loads((tmp_path / f"{protocol}.json").read_text())
        assert facts["start"] == "as given"
        assert facts["rows"][0]["mean"] < 0.01
    assert facts["aligned_with"] == {"face": "face_sphere", "full_head": "face"}


def test_what_is_not_finite_becomes_null() -> None:
    assert without_nan({"a": [1.0, float("nan")], "b": (float("inf"), "c", 3)}) == {
        "a": [1.0, None],
        "b": [None, "c", 3],
    }


ERRORS = {
    "no nose tip": (["head.ply", "scan.obj"], "scan.obj has no landmark called nose_tip: .* --landmarks"),
    "missing": (["nobody.ply", "scan.obj"], "nobody.ply does not exist"),
    "unknown suffix": (["head.txt", "scan.obj"], "head.txt is not a mesh file that can be read"),
    "empty mesh": (["empty.obj", "scan.obj"], "empty.obj holds no triangles"),
    "metres": (["metres.ply", "scan.obj", "--landmarks", "names.json"], "give the prediction's unit .* --units"),
    "fixed": (["head.ply", "scan.obj", "--protocol", "h3ds", "--dof", "rigid"], "h3ds fixes alignment and regions"),
    "no radius": (["head.ply", "scan.obj", "--radius", "-3"], "a radius of -3 mm holds no face"),
    "curve": (["head.ply", "scan.obj", "--curve", "c.png"], "the protocol surface has no cumulative curve"),
    "heat suffix": (["head.ply", "scan.obj", "--heatmap", "h.jpg"], "cannot write a heat map as h.jpg"),
    "curve suffix": (["head.ply", "scan.obj", "--protocol", "now", "--curve", "c.pdf"], r"ends in \.png"),
    "one name": (
        ["head.ply", "scan.obj", "--landmarks", "names.json", "--pred-landmarks", "one.json"],
        "share 1 landmarks: give three or more of the same name",
    ),
    "now unmarked": (
        ["head.ply", "scan.obj", "--protocol", "now", "--landmarks", "names.json"],
        "head.ply has no landmark called right_eye_outer: .* --pred-landmarks",
    ),
    "folders": ([".", ".", "--protocol", "now"], "holds no list of images"),
    "folder heat": ([".", ".", "--protocol", "now", "--heatmap", "h.ply"], "a heat map shows one scan"),
    "folder names": ([".", ".", "--protocol", "now", "--landmarks", "names.json"], "hold their own landmarks"),
    "folder": ([".", "scan.obj"], "is not a mesh file that can be read"),
    "output": (["head.ply", "scan.obj", "--json", "."], "because it is a folder: choose another name"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    head = marked(body(2))
    write_obj(tmp_path / "scan.obj", head.mesh)
    head.mesh.save(tmp_path / "head.ply")
    head.mesh.scaled(0.001).save(tmp_path / "metres.ply")
    (tmp_path / "names.json").write_text(json.dumps(numbers(head.mesh)))
    (tmp_path / "one.json").write_text(json.dumps({LANDMARK_NAMES[0]: 3, "chin": 4}))
    (tmp_path / "head.txt").write_text("no mesh")
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    arguments, sentence = ERRORS[case]
    assert run(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert re.search(sentence, shown.err)
    assert sorted(tmp_path.iterdir()) == before
