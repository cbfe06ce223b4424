"""Tiny stand-ins for the open sources of training heads: busts that are surfaces of revolution, known in closed form.

`write_valid` makes a folder of VALID busts, `write_ict` one of the ICT face model (packed, or in upstream's own
OBJ files), and `write_mediapipe` the table of landmarks on both.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from protome.population.people import MILD

PROFILE = np.array(
    [[0.0, 0.12], [0.035, 0.113], [0.065, 0.09], [0.082, 0.045], [0.085, 0.0], [0.075, -0.05], [0.055, -0.095],
     [0.05, -0.13], [0.06, -0.16], [0.11, -0.195], [0.14, -0.24]]
)  # fmt: skip
"""Radius and height of the bust from the crown to the cut, metres, head frame."""
AXIS_Z = -0.085
ROWS = COLUMNS = 64
ICT_ROWS = ICT_COLUMNS = 80
"""Another tessellation of the same surface; every fifth row is every fourth of the body's."""
NECK = 0.75
"""How far down the ICT head reaches, as a share of the rows."""


def surface(t: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return points of the bust: `t` runs from the crown (0) to the cut (1), the angle from straight ahead to the left.

    The bust is a little deeper than wide.
    """
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(PROFILE, axis=0), axis=1))])
    radius, height = PchipInterpolator(along / along[-1], PROFILE)(t).T
    return np.stack([0.95 * radius * np.sin(angle), height, AXIS_Z + radius * np.cos(angle)], -1)


@dataclass(frozen=True)
class Grid:
    """A tessellated bust with a texture seam at the back: the last column repeats the first, the first row a point."""

    vertices: np.ndarray
    quads: np.ndarray
    faces: np.ndarray
    """Triangles of the quads, those at the crown left out that have no area."""
    uv: np.ndarray
    weld: np.ndarray

    @staticmethod
    def of(rows: int, columns: int, last: int | None = None) -> Grid:
        row, column = np.mgrid[: (last or rows) + 1, : columns + 1]
        index = row * (columns + 1) + column
        weld = np.where(row == 0, 0, row * (columns + 1) + column % columns)
        corners = [index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]]
        quads = np.stack([corner.ravel() for corner in corners], 1)
        faces = np.concatenate([quads[:, [0, 1, 2]], quads[quads[:, 0] > columns][:, [0, 2, 3]]])
        t, angle = row.ravel() / rows, 2 * np.pi * column.ravel() / columns - np.pi
        uv = np.stack([column.ravel() / columns, 1 - t], 1)
        return Grid(surface(t, angle)[weld.ravel()], quads, faces, uv, weld.ravel())


BODY = Grid.of(ROWS, COLUMNS)
ICT = Grid.of(ICT_ROWS, ICT_COLUMNS, int(NECK * ICT_ROWS))
COARSE = Grid.of(16, 12, 12)
"""The same for tests that only look at files."""


def nearest_vertex(x: float, y: float) -> int:
    """Return the body's vertex in the face that is nearest to a place in the frontal view."""
    gap = np.hypot(BODY.vertices[:, 0] - x, BODY.vertices[:, 1] - y) + (BODY.vertices[:, 2] < AXIS_Z)
    return int(gap.argmin())


LANDMARKS = {
    "right_eye": nearest_vertex(-0.016, 0), "left_eye": nearest_vertex(0.016, 0),
    "right_eye_outer": nearest_vertex(-0.045, 0), "left_eye_outer": nearest_vertex(0.045, 0),
    "nose_tip": nearest_vertex(0, -0.04), "nose_base": nearest_vertex(0, -0.055),
    "right_lips": nearest_vertex(-0.025, -0.075), "left_lips": nearest_vertex(0.025, -0.075),
}  # fmt: skip

# VALID


def _bump(centre: tuple[float, float, float], extent: float) -> np.ndarray:
    return np.exp(-0.5 * ((BODY.vertices - np.array(centre)) ** 2).sum(1) / extent**2)


TRAITS = np.stack(
    [
        0.010 * _bump((0.0, -0.04, 0.0), 0.03)[:, None] * [0.0, 0.0, 1.0],
        0.008 * np.clip((-0.09 - BODY.vertices[:, 1]) / 0.06, 0, 1)[:, None] * (BODY.vertices - [0, 0, AXIS_Z]),
        0.006 * _bump((0.0, 0.09, -0.05), 0.05)[:, None] * [0.0, 1.0, 0.3],
    ]
)
"""How people differ: noses, shoulders, foreheads; metres."""


@dataclass(frozen=True)
class Bust:
    """One avatar of the folder."""

    name: str
    hair: str
    traits: tuple[float, float, float]
    skin: tuple[int, int, int]
    beard: bool = False

    @property
    def vertices(self) -> np.ndarray:
        return BODY.vertices + np.tensordot(self.traits, TRAITS, 1)


HAIR = (30, 20, 15)
BUSTS = (
    Bust("Asian_F_1_Busi", "wig", (0.5, -0.5, 1.0), (225, 180, 150)),
    Bust("Black_F_1_Casual", "wig", (9.0, 8.0, 9.0), (0, 255, 0)),
    Bust("Black_M_3_Casual", "none", (-0.5, 1.0, 0.5), (200, 160, 130)),
    Bust("MENA_M_3_Casual", "body", (1.0, 0.5, -1.0), (230, 190, 160), beard=True),
    Bust("White_M_1_Casual", "body", (-1.0, -1.0, -0.5), (240, 200, 180)),
    Bust("White_M_2_Casual", "body", (-9.0, 9.0, -8.0), (0, 255, 0)),
)
"""The green ones are held out; the traits of the others have the mean zero."""
WIG_VERTICES, HOLDOUT_WIG_VERTICES = 162, 42


def scalp(points: np.ndarray) -> np.ndarray:
    """Return where the hair that is painted on bodies grows."""
    return (points[:, 1] > 0.05) | ((points[:, 1] > -0.07) & (points[:, 2] < -0.1))


def beard(points: np.ndarray) -> np.ndarray:
    """Return where the bearded man's beard grows; his lips are painted over too."""
    return (points[:, 1] < -0.045) & (points[:, 1] > -0.11) & (points[:, 2] > -0.05)


def _texture(bust: Bust) -> Image.Image:
    row, column = np.mgrid[:ROWS, :COLUMNS].reshape(2, -1) + 0.5
    points = surface(row / ROWS, 2 * np.pi * column / COLUMNS - np.pi)
    hairy = np.zeros(len(points), bool)
    if bust.hair == "body" and bust.skin != (0, 255, 0):
        hairy = scalp(points) | (bust.beard & beard(points))
    colours = np.where(hairy[:, None], HAIR, bust.skin).astype(np.uint8)
    return Image.fromarray(colours.reshape(ROWS, COLUMNS, 3))


def _textured(vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, image: Image.Image) -> trimesh.Trimesh:
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices, faces, visual=visual, process=False)


def _wig(bust: Bust) -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere(subdivisions=1 if bust.skin == (0, 255, 0) else 2, radius=0.11)
    ball.apply_translation([0.0, 0.02, -0.09])
    front = (ball.triangles_center[:, 2] > -0.06) & (ball.triangles_center[:, 1] < 0.06)
    faces = ball.faces[~front & (ball.triangles_center[:, 1] > -0.05)]
    stripes = np.where(np.arange(32)[None, :, None] % 4 < 2, [[[90, 60, 40]]], [[[45, 30, 20]]])
    image = Image.fromarray(np.broadcast_to(stripes, (32, 32, 3)).astype(np.uint8))
    uv = np.stack([0.5 + ball.vertices[:, 0] / 0.3, 0.5 + ball.vertices[:, 1] / 0.3], 1)
    return _textured(ball.vertices, faces, uv, image)


def ball_cap(radius: float, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a ball above a height: hair for other heads. Vertices and faces."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return np.array(ball.vertices), np.array(ball.faces[ball.triangles_center[:, 1] > above])


def write_valid(folder: Path) -> Path:
    """Write the folder of VALID busts."""
    folder.mkdir()
    bodies = np.stack([bust.vertices for bust in BUSTS]).astype(np.float32)
    np.savez(
        folder / "bodies.npz", names=np.array([bust.name for bust in BUSTS]), vertices=bodies + 1,
        vertices_arms_down=bodies, faces=BODY.faces.astype(np.int32), uv=BODY.uv, weld=BODY.weld.astype(np.int32),
    )  # fmt: skip
    (folder / "landmarks.json").write_text(json.dumps({"landmarks": LANDMARKS}))
    rows = [{"file": f"{bust.name}.glb", "hair": {"geometry": bust.hair}} for bust in BUSTS]
    (folder / "index.json").write_text(json.dumps({"files": rows}))
    for bust in BUSTS:
        image = _texture(bust)
        scene = trimesh.Scene()
        scene.add_geometry(_textured(BODY.vertices, BODY.faces, BODY.uv, image), geom_name="body")
        for side, x in (("left", 0.03), ("right", -0.03)):
            eye = trimesh.creation.icosphere(subdivisions=1, radius=0.012)
            eye.apply_translation([x, 0.0, -0.014])
            uv = np.full((len(eye.vertices), 2), 0.5)
            scene.add_geometry(_textured(eye.vertices, eye.faces, uv, image), geom_name=f"eye_{side}")
        if bust.hair == "wig":
            scene.add_geometry(_wig(bust), geom_name="wig")
        scene.export(folder / f"{bust.name}.glb")
    return folder


# ICT and MediaPipe

UNITS = tuple(sorted({unit for main, _, (more, _) in MILD.values() for unit in (*main, *more)}))
LANDMARK_T, LANDMARK_ANGLES = np.arange(2, 10) / 16, np.arange(-3, 4) * np.pi / 8
SIZE = 1.04
"""ICT's mean face is this much larger than the mean bust."""
TURN = Rotation.from_euler("xyz", [20, -35, 10], degrees=True).as_matrix()
SHIFT = np.array([0.3, -1.2, 0.4])
"""From the head frame to ICT's own frame, metres."""


def landmark_vertices(rows: int, columns: int) -> np.ndarray:
    """Return the vertices of a grid that lie at the landmarks."""
    row, angle = np.meshgrid(LANDMARK_T * rows, (LANDMARK_ANGLES + np.pi) / (2 * np.pi) * columns, indexing="ij")
    return np.rint(row * (columns + 1) + angle).astype(int).ravel()


MIDDLE = BODY.vertices[landmark_vertices(ROWS, COLUMNS)].mean(0)


def ict_place(points: np.ndarray) -> np.ndarray:
    """Return where points of the mean bust lie on ICT's mean face, head frame."""
    return MIDDLE + SIZE * (points - MIDDLE)


def ict_mode(number: int, places: np.ndarray) -> np.ndarray:
    """Return the displacements of an identity mode at places in ICT's frame: a linear field of a few millimetres."""
    return 0.02 * (places - SHIFT) @ np.random.default_rng(number).normal(size=(3, 3)).T


def ict_move(name: str, places: np.ndarray) -> np.ndarray:
    """Return the displacements of an expression, in ICT's frame: another linear field."""
    return ict_mode(1000 + UNITS.index(name), places)


MODES = 4


def _obj(path: Path, vertices: np.ndarray, polygons: np.ndarray) -> None:
    lines = ["# a comment", *(f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices), "vt 0.5 0.5", "vn 0 0 1"]
    lines += ["f " + " ".join(f"{corner + 1}/1/1" for corner in row if corner >= 0) for row in polygons]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write("\n".join(lines) + "\n")


def write_ict(folder: Path, grid: Grid = ICT, upstream: bool = False, insides: int = 0) -> Path:
    """Write the folder of the ICT model, centimetres; some vertices of a mouth's inside may follow the head's."""
    folder.mkdir()
    places = ict_place(grid.vertices) @ TURN.T + SHIFT
    # The crown's quads have no area on one side: triangles.
    crown = grid.weld[grid.quads[:, 0]] == 0
    polygons = np.where(crown[:, None] & (np.arange(4) == 3), -1, grid.quads)
    within = len(places) + np.array([[0, 1, 2, 3]]) if insides else np.zeros((0, 4), int)
    polygons = np.concatenate([polygons, within])
    places = np.concatenate([places, np.random.default_rng(0).normal(size=(insides, 3))])
    modes = np.stack([ict_mode(number, places) for number in range(MODES)])
    moves = np.stack([ict_move(name, places) for name in UNITS])
    if not upstream:
        np.savez(
            folder / "ict_facekit.npz", neutral=100 * places, faces=np.stack([polygons, polygons], -1),
            identity=100 * modes, expression=100 * moves, expression_names=np.array(UNITS),
        )  # fmt: skip
        return folder
    (folder / "FaceXModel").mkdir()
    shapes = {"generic_neutral_mesh": places}
    shapes |= {f"identity{number:03d}": places + mode for number, mode in enumerate(modes)}
    shapes |= {name: places + move for name, move in zip(UNITS, moves, strict=True)}
    for number, (name, shape) in enumerate(shapes.items()):
        _obj(folder / "FaceXModel" / f"{name}.obj{'.gz' if number % 2 else ''}", 100 * shape, polygons)
    return folder


def write_mediapipe(folder: Path) -> Path:
    """Write the table of landmarks on both topologies; ICT's has two more, of irises, that lie elsewhere."""
    folder.mkdir()
    ours, theirs = landmark_vertices(ROWS, COLUMNS), landmark_vertices(ICT_ROWS, ICT_COLUMNS)
    tables = {}
    for key, own in (("valid_body", ours), ("ict", np.concatenate([theirs, [5, 6]]))):
        triangles = np.stack([own, own + 1, own + 2], 1)
        tables[key] = {"triangles": triangles.tolist(), "barycentric": [[1.0, 0.0, 0.0]] * len(own)}
    (folder / "mediapipe_landmarks.json").write_text(json.dumps(tables))
    return folder
