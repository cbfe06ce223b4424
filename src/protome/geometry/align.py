"""Alignment of a point set to landmarks or to a surface, with named degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import igl
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, procrustes, rotation_from_vector

Dof = Literal["rigid", "similarity"]
"""Degrees of freedom: rotation and translation, or these and one scale. Never a reflection."""


@dataclass(frozen=True)
class Foot:
    """The surface points nearest to query points."""

    points: Float[np.ndarray, "n 3"]
    distances: Float[np.ndarray, "n"]
    faces: Int[np.ndarray, "n"]
    """The triangle of each."""


class Surface:
    """A mesh prepared for many nearest-point queries (libigl's axis-aligned box tree).

    Raises:
        ValueError: the mesh has no faces or a vertex that is not finite.
    """

    def __init__(self, mesh: Mesh) -> None:
        if len(mesh.faces) == 0:
            raise ValueError("a surface needs at least one triangle")
        self.vertices = np.ascontiguousarray(mesh.vertices, np.float64)
        self.faces = np.ascontiguousarray(mesh.faces, np.int64)
        if not np.isfinite(self.vertices).all():
            raise ValueError("a surface needs finite vertices")
        self._tree = igl.AABB()
        self._tree.init(self.vertices, self.faces)

    def closest(self, points: Float[np.ndarray, "n 3"]) -> Foot:
        """Return the nearest point of the surface (not the nearest vertex) for each point.

        Raises:
            ValueError: a point is not finite.
        """
        points = np.ascontiguousarray(points, np.float64)
        if not np.isfinite(points).all():
            raise ValueError("nearest points are defined for finite points only")
        if len(points) == 0:
            return Foot(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64))
        squared, faces, feet = self._tree.squared_distance(self.vertices, self.faces, points)
        distances = np.sqrt(np.maximum(squared, 0.0)).reshape(len(points))
        # libigl's integers are C's long long, which NumPy does not take for int64 though they are equal.
        return Foot(feet.reshape(-1, 3), distances, faces.reshape(len(points)).astype(np.int64))

    def face_normals(self) -> Float[np.ndarray, "f 3"]:
        """Return the unit normals of the triangles (zero for degenerate ones)."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


@dataclass(frozen=True)
class Alignment:
    """An alignment and its residual."""

    target_from_source: Similarity
    """In double precision."""
    residual: float
    """Root mean square distance after the alignment, over the kept points, in the source's unit."""
    iterations: int
    """Steps taken; 0 for a closed solution."""


def align_landmarks(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    dof: Dof = "rigid",
    weights: Float[np.ndarray, "n"] | None = None,
) -> Alignment:
    """Return the least-squares alignment of corresponding points.

    Raises:
        ValueError: fewer than three points.
    """
    wanted = torch.from_numpy(np.array(target, np.float64))
    given = torch.from_numpy(np.array(source, np.float64))
    share = torch.ones(len(given), dtype=torch.float64) if weights is None else torch.from_numpy(weights).double()
    found = procrustes(given, wanted, share, with_scale=dof == "similarity")
    squared = ((found.apply(given) - wanted) ** 2).sum(1) / found.scale**2
    return Alignment(found, float((share / share.sum() * squared).sum().sqrt()), 0)


def icp(
    points: Float[np.ndarray, "n 3"],
    surface: Surface | Mesh,
    *,
    dof: Dof = "rigid",
    start: Similarity | None = None,
    keep: float = 1.0,
    max_iterations: int = 60,
    tolerance: float = 1e-6,
) -> Alignment:
    """Return the alignment of points to a surface by the iterative closest point algorithm (ICP).

    Each step solves for the motion along the directions in which the distances change (point to plane), damped so
    that the residual never grows; a "rigid" alignment keeps the scale of `start` exactly. With `keep` below 1 the sum
    runs over that share of the points with the smallest distances (trimmed ICP), chosen anew in each step: use it
    when part of the points has no counterpart on the surface.

    Distances are minimised in the source's unit: in the target's, a "similarity" alignment would reduce them by
    shrinking the points, down to a single one on the surface.

    The iteration ends when a step moves no point further than `tolerance` times the point set's radius, or improves
    the residual by less than that share of it.

    Source: Besl and McKay (1992), Chen and Medioni (1992), Chetverikov et al. (2005); damping as in Fitzgibbon (2003).

    Raises:
        ValueError: fewer than three points would be kept, or `keep` is outside (0, 1].
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"the share of points to keep must lie in (0, 1], got {keep}")
    count = int(np.ceil(keep * len(points)))
    if count < 3:
        raise ValueError(f"an alignment needs at least 3 points, got {count}")
    surface = surface if isinstance(surface, Surface) else Surface(surface)
    normals = surface.face_normals()
    source = torch.from_numpy(np.array(points, np.float64))
    best = Similarity.identity(torch.float64) if start is None else start.detach().to("cpu").to(torch.float64)
    state = _Fit.at(best, source, surface, count)
    damping, steps = 1e-4, 0
    while steps < max_iterations and damping < 1e6:
        steps += 1
        step = state.step(normals, dof, damping)
        trial = _Fit.at(step.compose(best), source, surface, count)
        motion = float(np.linalg.norm(trial.moved - state.moved, axis=1).max()) / state.radius
        gain = 1.0 - trial.mean_square / max(state.mean_square, 1e-300)
        if gain > 0:
            best, state, damping = trial.pose, trial, max(damping / 10.0, 1e-9)
        else:
            damping *= 10.0
        if motion < tolerance or 0 < gain < tolerance:
            break
    return Alignment(best, float(np.sqrt(state.mean_square)), steps)


@dataclass(frozen=True)
class _Fit:
    """The points at one pose, their nearest surface points, and which of them are kept."""

    pose: Similarity
    moved: Float[np.ndarray, "n 3"]
    foot: Foot
    kept: Int[np.ndarray, "k"]
    mean_square: float
    """Of the kept distances, in the source's unit."""

    @staticmethod
    def at(pose: Similarity, source: Float[torch.Tensor, "n 3"], surface: Surface, count: int) -> _Fit:
        moved = pose.apply(source).numpy()
        foot = surface.closest(moved)
        kept = np.argsort(foot.distances, kind="stable")[:count]
        return _Fit(pose, moved, foot, kept, float((foot.distances[kept] ** 2).mean() / pose.scale**2))

    @property
    def radius(self) -> float:
        """The root mean square distance of the kept points from their centre."""
        points = self.moved[self.kept]
        return max(float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())), 1e-300)

    def step(self, normals: Float[np.ndarray, "f 3"], dof: Dof, damping: float) -> Similarity:
        """Return the damped Gauss-Newton motion of the points towards the surface."""
        points, distances = self.moved[self.kept], self.foot.distances[self.kept]
        centre, radius = points.mean(0), self.radius
        # The gradient of the distance is the direction to the foot point; on the surface it is the face's normal.
        away = points - self.foot.points[self.kept]
        off: Bool[np.ndarray, "k 1"] = (distances > 1e-9 * radius)[:, None]
        direction = np.where(off, away / np.maximum(distances, 1e-300)[:, None], normals[self.foot.faces[self.kept]])
        arm = (points - centre) / radius
        columns = [np.cross(arm, direction), direction]
        if dof == "similarity":
            # A larger scale moves a point along its arm, and reduces its distance in the source's unit.
            columns.append((arm * direction).sum(1, keepdims=True) - distances[:, None] / radius)
        jacobian = np.concatenate(columns, 1)
        normal_matrix = jacobian.T @ jacobian / len(points)
        gradient = jacobian.T @ (distances / radius) / len(points)
        motion = -np.linalg.solve(normal_matrix + damping * np.eye(len(gradient)), gradient)
        rotation = rotation_from_vector(torch.from_numpy(motion[:3]))
        scale = torch.tensor(np.exp(motion[6]) if dof == "similarity" else 1.0, dtype=torch.float64)
        middle = torch.from_numpy(centre)
        shift = middle + radius * torch.from_numpy(motion[3:6]) - scale * (rotation @ middle)
        return Similarity(rotation, shift, scale)
