"""MakeHuman's base mesh laid over the mean VALID body: landmarks first, then the nearest surface, smoothly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import RBFInterpolator
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.errors import InputError
from protome.geometry.align import Surface
from protome.geometry.extension import laplacian
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.geometry.transforms import Similarity, procrustes
from protome.population.makehuman.mhclo import BODY_GROUP
from protome.population.registration import farthest
from protome.population.sources.valid import ValidHeads

REACH_M = np.array([[-0.24, -0.31, -1.0], [0.24, 1.0, 1.0]])
"""The part of the base mesh that is fitted: head, neck and shoulders; VALID busts end a little below."""
STIFFNESS = (300.0, 100.0, 30.0, 10.0, 5.0, 3.0, 2.0, 2.0)
"""Weight of smoothness in each round, relative to one vertex's pull towards the surface."""
LANDMARK_PULL = 8.0
"""Weight of the firmest landmark against one vertex's pull."""
CONTROLS = 900
"""Control points of the map from MakeHuman's space."""


@dataclass(frozen=True)
class BaseLandmarks:
    """Where MediaPipe's face landmarks lie on the base mesh."""

    triangles: Int[np.ndarray, "l 3"]
    """Base vertices around each landmark."""
    barycentric: Float[np.ndarray, "l 3"]
    weights: Float[np.ndarray, "l"]
    """How far each is to be trusted, in (0, 1]."""

    @staticmethod
    def packaged() -> BaseLandmarks:
        """Read the table of the package (made by `protome.population.makehuman.landmarks`)."""
        asset = resources.files("protome") / "assets" / "makehuman_landmarks.npz"
        with asset.open("rb") as file, np.load(file) as stored:
            return BaseLandmarks(
                stored["triangles"].astype(np.int64),
                stored["barycentric"].astype(np.float64),
                stored["weights"].astype(np.float64),
            )

    def save(self, path: Path) -> None:
        """Write the table as an npz file."""
        np.savez_compressed(
            path,
            triangles=self.triangles.astype(np.int32),
            barycentric=self.barycentric.astype(np.float32),
            weights=self.weights.astype(np.float32),
        )


@dataclass(frozen=True)
class MakeHumanFit:
    """The base mesh in the frame of the mean VALID body, metres, and the map that takes hair and clothes there."""

    base: ObjMesh
    """As in MakeHuman's file: decimetres, all groups."""
    similarity: Similarity
    """From MakeHuman's space to the head frame, before the smooth warp."""
    vertices: Float[np.ndarray, "b 3"]
    """All base vertices in the head frame; those of head, neck and shoulders lie on the mean VALID body."""
    fitted: Bool[np.ndarray, "b"]
    """True for the vertices of the body group that were laid on the VALID surface."""

    @property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Return the triangles of the fitted skin."""
        body = self.base.group(BODY_GROUP).faces
        return body[self.fitted[body].all(1)]

    @property
    def uv_faces(self) -> Int[np.ndarray, "f 3"]:
        """Return the rows of the base mesh's texture coordinates at the corners of `faces`."""
        body = self.base.group(BODY_GROUP)
        return body.uv_faces[self.fitted[body.faces].all(1)]

    @cached_property
    def _warp(self) -> RBFInterpolator:
        placed = self.similarity.apply_numpy(self.base.vertices)
        index = np.flatnonzero(self.fitted)
        chosen = index[farthest(placed[index], CONTROLS)]
        return RBFInterpolator(
            placed[chosen], (self.vertices - placed)[chosen], kernel="linear", neighbors=None, smoothing=1e-4
        )

    def to_valid(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Map points of MakeHuman's space (decimetres) into the head frame of the mean VALID body (metres)."""
        placed = self.similarity.apply_numpy(points)
        return placed + self._warp(placed)


def fit_makehuman(base: ObjMesh, valid: ValidHeads, tables: Path) -> MakeHumanFit:
    """Lay the base mesh over the mean VALID body.

    MediaPipe's landmarks, known on both meshes, give a similarity. Then each vertex of head, neck and shoulders that
    is visible from outside is pulled to the nearest point of the body, with displacements that stay smooth over the
    mesh (a non-rigid ICP after Amberg et al. 2007, with translations per vertex), of decreasing stiffness.

    Raises:
        InputError: the landmark map is missing, or the base mesh is not hm08.
    """
    mapping = tables / "mediapipe_landmarks.json"
    if not mapping.is_file():
        raise InputError(f"{mapping} does not exist: give the folder that holds it")
    table = json.loads(mapping.read_text())["valid_body"]
    mean = valid.mean
    wanted = (mean[np.asarray(table["triangles"])] * np.asarray(table["barycentric"])[..., None]).sum(1)
    known = BaseLandmarks.packaged()
    corners, shares, trust = known.triangles, known.barycentric, known.weights
    if len(wanted) < len(corners):
        raise InputError(f"{mapping} has too few landmarks: give the table of all {len(corners)}")
    wanted = wanted[: len(corners)]
    if corners.max() >= len(base.vertices):
        raise InputError("the base mesh lacks vertices that landmarks lie on: give MakeHuman's base.obj (hm08)")
    body = base.group(BODY_GROUP)
    given = (base.vertices[corners] * shares[..., None]).sum(1)
    similarity = procrustes(torch.from_numpy(given), torch.from_numpy(wanted), torch.from_numpy(trust))
    placed = similarity.apply_numpy(base.vertices)

    inside = ((placed > REACH_M[0]) & (placed < REACH_M[1])).all(1)
    faces = body.faces[inside[body.faces].all(1)]
    # The insides of mouth, nose and eye sockets have no counterpart and would fold out.
    faces = faces[visible_from_outside(placed, faces)[faces].all(1)]
    own, local = np.unique(faces, return_inverse=True)
    faces = local.reshape(-1, 3)
    number = np.full(len(placed), -1)
    number[own] = np.arange(len(own))
    kept = (number[corners] >= 0).all(1)
    pins = _Pins(number[corners[kept]], shares[kept], wanted[kept], LANDMARK_PULL * trust[kept])
    moved = _wrapped(placed[own], faces, Mesh(mean, valid.faces), pins)

    vertices, fitted = placed.copy(), np.zeros(len(placed), bool)
    fitted[own] = True
    vertices[own] = moved
    result = MakeHumanFit(base, similarity, vertices, fitted)
    vertices[~fitted] = result.to_valid(base.vertices[~fitted])
    return result


@dataclass(frozen=True)
class _Pins:
    """Points on the mesh that have to come to known places."""

    corners: Int[np.ndarray, "k 3"]
    barycentric: Float[np.ndarray, "k 3"]
    places: Float[np.ndarray, "k 3"]
    weights: Float[np.ndarray, "k"]


def _wrapped(
    start: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    target: Mesh,
    pins: _Pins,
) -> Float[np.ndarray, "v 3"]:
    """Return the vertices pulled onto the target and onto their pins."""
    surface = Surface(target)
    smooth_normals = np.array(Trimesh(target.vertices, target.faces, process=False).vertex_normals)
    rows = np.repeat(np.arange(len(pins.corners)), 3)
    pick = csr_matrix((pins.barycentric.ravel(), (rows, pins.corners.ravel())), shape=(len(pins.corners), len(start)))
    pinned = pick.T @ diags(pins.weights)
    smoothness = laplacian(faces, len(start))
    bending = smoothness.T @ smoothness + 1e-3 * smoothness
    rim = start[:, 1] < REACH_M[0, 1] + 0.02
    moves = np.zeros_like(start)
    for stiffness in STIFFNESS:
        now = start + moves
        normals = Trimesh(now, faces, process=False).vertex_normals
        foot = surface.closest(now)
        along = (smooth_normals[target.faces[foot.faces]].mean(1) * normals).sum(1)
        near = foot.distances < 0.03
        pull = np.where(near & ~rim, np.clip(along, 0, 1) ** 2, 0.0)
        system = diags(pull) + pinned @ pick + stiffness * bending + 1e-6 * diags(np.ones(len(start)))
        aims = pull[:, None] * (foot.points - start) + pinned @ (pins.places - pick @ start)
        moves = splu(system.tocsc()).solve(aims)
    return start + moves


def visible_from_outside(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], rounds: int = 40
) -> Bool[np.ndarray, "v"]:
    """Return the vertices visible from a tenth of the directions before them: skin, but no mouth or eye socket."""
    return openness(vertices, faces, rounds) > 0.1


def openness(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], rounds: int = 40
) -> Float[np.ndarray, "v"]:
    """Return the share of the directions before each vertex that nothing occludes."""
    mesh = Trimesh(vertices, faces, process=False)
    rays, normals = RayMeshIntersector(mesh), np.array(mesh.vertex_normals)
    rng = np.random.default_rng(0)
    free = np.zeros(len(vertices))
    for _ in range(rounds):
        direction = rng.normal(size=(len(vertices), 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        direction *= np.where((direction * normals).sum(1) < 0, -1, 1)[:, None]
        free += ~rays.intersects_any(vertices + 1e-4 * normals, direction)
    return free / rounds
