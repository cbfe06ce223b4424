"""The error of a predicted head: aligned point-to-surface distances to a scan, and normal angles.

The measure is stricter than that of the H3DS evaluator. Distances end on the surface, not on its vertices, so a denser
mesh has no advantage. The alignment is rigid by default, so an error of scale counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from protome.errors import InputError
from protome.geometry.align import Dof, Foot, Surface, icp
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import SurfaceSamples, sample_surface
from protome.geometry.transforms import Similarity
from protome.geometry.triangles import barycentric

FACE_RADIUS_MM = 95.0
"""The face is the part within this distance of the nose tip (as in H3DS)."""

ALIGNMENT_SAMPLES = 6000
"""Points used to find an alignment; more of them do not change it measurably."""


@dataclass(frozen=True)
class Spread:
    """Summary statistics of a distribution, in millimetres or degrees; NaN where it is empty."""

    mean: float
    median: float
    p90: float
    """The 90th percentile."""
    std: float
    count: int

    @staticmethod
    def of(values: Float[np.ndarray, "n"]) -> Spread:
        """Return the summary of some values."""
        if len(values) == 0:
            return Spread(np.nan, np.nan, np.nan, np.nan, 0)
        mean, median, p90 = float(values.mean()), float(np.median(values)), float(np.percentile(values, 90))
        return Spread(mean, median, p90, float(values.std()), len(values))


@dataclass(frozen=True)
class RegionComparison:
    """Distances over one region, under the region's own alignment."""

    to_prediction: Spread
    """From samples of the truth to the prediction's surface, mm: the main measure."""
    to_truth: Spread
    """From samples of the prediction to the truth's surface, mm, where the truth covers them."""
    truth_from_prediction: Similarity
    """The alignment."""


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`."""

    face: RegionComparison
    head: RegionComparison
    face_normals: Spread
    """Angles between the surfaces' normals over the face, in degrees."""


def surface_distances(points: Float[np.ndarray, "n 3"], mesh: Mesh) -> Float[np.ndarray, "n"]:
    """Return the distance of each point to the nearest point of the mesh's surface, in the common unit."""
    return Surface(mesh).closest(points).distances


def compare(
    prediction: Mesh,
    truth: Mesh,
    *,
    nose_tip: Float[np.ndarray, "3"],
    dof: Dof = "rigid",
    start: Similarity | None = None,
    face_radius: float = FACE_RADIUS_MM,
    samples: int = 30_000,
    seed: int = 0,
) -> Comparison:
    """Align a predicted head with a scan and return the distances between the two; everything is in millimetres.

    Face and head are aligned each on its own, as in H3DS: by ICP from samples of the truth's region to the
    prediction's surface, from `start` on (truth from prediction, for example by landmarks; by default the identity).
    The face is the part of the truth within `face_radius` of `nose_tip` (in the truth's frame), the head is all of
    the truth. Artificial bases have to be cut off both meshes before: they would count as surface. All lengths are the
    truth's, also when a "similarity" alignment rescaled the prediction.

    Truth to prediction: uniform samples of the truth's region, each to the nearest point of the whole prediction.
    Prediction to truth: uniform samples of the prediction whose nearest truth point lies in the region and not on an
    open border of the truth; beyond a border the truth is unknown (for example below a bust).
    Normals: at the face's samples and their nearest points, from vertex normals computed off both geometries.

    Raises:
        InputError: the truth has no surface near the nose tip.
        ValueError: `start` changes lengths though the alignment is rigid.
    """
    if dof == "rigid" and start is not None and abs(float(start.scale) - 1.0) > 1e-6:
        raise ValueError(f"a rigid comparison needs a start of scale 1, got {float(start.scale):.6g}")
    truth, prediction = welded(truth), welded(prediction)
    near = _reaching(truth, nose_tip, face_radius)
    if len(near) == 0:
        raise InputError(
            f"the scan has no surface within {face_radius:g} mm of the nose tip: "
            "check that both are given in millimetres and in one frame"
        )
    head_samples = sample_surface(truth, samples, seed)
    face_samples = sample_surface(Mesh(truth.vertices, truth.faces[near]), samples, seed)
    inside = np.linalg.norm(face_samples.points - nose_tip, axis=1) <= face_radius
    face_samples = SurfaceSamples(
        face_samples.points[inside], near[face_samples.faces[inside]], face_samples.weights[inside]
    )
    surface = Surface(prediction)
    back = _ReverseDistances(truth, sample_surface(prediction, samples, seed))

    face_pose = _align(face_samples.points, surface, dof, start)
    head_pose = _align(head_samples.points, surface, dof, start)
    face_foot = surface.closest(face_pose.inverse().apply_numpy(face_samples.points))
    head_foot = surface.closest(head_pose.inverse().apply_numpy(head_samples.points))
    angles = _angles(truth, face_samples, prediction, face_foot, face_pose)
    return Comparison(
        RegionComparison(
            Spread.of(face_foot.distances * float(face_pose.scale)),
            Spread.of(back.distances(face_pose, nose_tip, face_radius)),
            face_pose,
        ),
        RegionComparison(
            Spread.of(head_foot.distances * float(head_pose.scale)),
            Spread.of(back.distances(head_pose, nose_tip, np.inf)),
            head_pose,
        ),
        Spread.of(angles),
    )


def welded(mesh: Mesh) -> Mesh:
    """Return the mesh with one vertex per position: texture seams would count as borders and creases."""
    first, number = _positions(mesh)
    faces = number[mesh.faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(np.asarray(mesh.vertices, np.float64)[first], faces[distinct].astype(np.int64))


def _positions(mesh: Mesh) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "v"]]:
    """Return the first vertex at each position, and which position each vertex has."""
    extent = float(np.ptp(mesh.vertices, axis=0).max()) if len(mesh.vertices) else 1.0
    keys = np.rint(mesh.vertices / (1e-7 * max(extent, 1e-300))).astype(np.int64)
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, number.reshape(-1)


def piece_at(mesh: Mesh, point: Float[np.ndarray, "3"]) -> Bool[np.ndarray, "f"]:
    """Return which triangles are connected to the vertex nearest to a point; positions count, not vertices' numbers.

    Hair of composed heads is a piece of its own. Where it hangs before the cheeks it lies within the radius of the
    face, but a photo shows its outside only, and nobody knows how thick it is.
    """
    first, number = _positions(mesh)
    faces = number[mesh.faces]
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_array((np.ones(len(edges)), edges.T), (len(first),) * 2)
    labels = connected_components(graph, directed=False)[1]
    tip = number[np.linalg.norm(mesh.vertices - point, axis=1).argmin()]
    return labels[faces[:, 0]] == labels[tip]


def _reaching(mesh: Mesh, centre: Float[np.ndarray, "3"], radius: float) -> Int[np.ndarray, "k"]:
    """Return the triangles whose bounding balls intersect a ball."""
    corners = mesh.vertices[mesh.faces]
    middle = corners.mean(1)
    reach = np.linalg.norm(corners - middle[:, None], axis=2).max(1)
    return np.flatnonzero(np.linalg.norm(middle - centre, axis=1) <= radius + reach)


def _align(points: Float[np.ndarray, "n 3"], surface: Surface, dof: Dof, start: Similarity | None) -> Similarity:
    """Return truth from prediction, by ICP of points of the truth to the prediction's surface."""
    stride = max(1, len(points) // ALIGNMENT_SAMPLES)
    initial = None if start is None else start.inverse()
    return icp(points[::stride], surface, dof=dof, start=initial).target_from_source.inverse()


class _ReverseDistances:
    """Distances from samples of the prediction to the truth."""

    def __init__(self, truth: Mesh, samples: SurfaceSamples) -> None:
        self.samples = samples
        self.truth = Surface(truth)
        self.border = OpenBorder(truth)

    def distances(
        self, truth_from_prediction: Similarity, nose_tip: Float[np.ndarray, "3"], radius: float
    ) -> Float[np.ndarray, "k"]:
        """Return the distances of the samples whose nearest truth point lies in the region and on no open border."""
        foot = self.truth.closest(truth_from_prediction.apply_numpy(self.samples.points))
        near = np.linalg.norm(foot.points - nose_tip, axis=1) <= radius
        return foot.distances[near & ~self.border.holds(foot)]


class OpenBorder:
    """The open border of a mesh: edges of a single face. In a mesh that is not welded, texture seams count too."""

    def __init__(self, mesh: Mesh, *, rim_only: bool = False) -> None:
        """Find the border of a mesh, or only its longest connected part, which excludes holes such as the eyes."""
        self.mesh = mesh
        self.edges = _border_edges(mesh)
        if rim_only:
            self.edges = _longest(mesh, self.edges)
        self.vertices = np.zeros(len(mesh.vertices), bool)
        for edge in range(3):
            rows = mesh.faces[self.edges[:, edge]]
            self.vertices[rows[:, (edge + 1) % 3]] = True
            self.vertices[rows[:, (edge + 2) % 3]] = True

    def holds(self, foot: Foot) -> Bool[np.ndarray, "n"]:
        """Return which nearest points of this mesh lie on its open border."""
        faces = self.mesh.faces[foot.faces]
        zero = barycentric(self.mesh.vertices[faces], foot.points) < 1e-5
        on_edge = (zero & self.edges[foot.faces]).any(1)
        corner = np.take_along_axis(faces, np.argmin(zero, 1)[:, None], 1)[:, 0]
        return on_edge | ((zero.sum(1) == 2) & self.vertices[corner])


def _border_edges(mesh: Mesh) -> Bool[np.ndarray, "f 3"]:
    """Return for each face and corner whether the opposite edge belongs to no other face."""
    edges = np.sort(np.stack([mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]], mesh.faces[:, [0, 1]]], 1), 2)
    _, inverse, counts = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    return (counts[inverse.reshape(-1)] == 1).reshape(-1, 3)


def _longest(mesh: Mesh, border: Bool[np.ndarray, "f 3"]) -> Bool[np.ndarray, "f 3"]:
    """Return the edges of the longest connected border."""
    face, corner = np.nonzero(border)
    a, b = mesh.faces[face, (corner + 1) % 3], mesh.faces[face, (corner + 2) % 3]
    count = len(mesh.vertices)
    labels = connected_components(coo_array((np.ones(len(a)), (a, b)), (count, count)), directed=False)[1]
    lengths = np.bincount(labels[a], np.linalg.norm(mesh.vertices[a] - mesh.vertices[b], axis=1), count)
    kept = np.zeros_like(border)
    kept[face, corner] = labels[a] == lengths.argmax()
    return kept


def _angles(
    truth: Mesh, samples: SurfaceSamples, prediction: Mesh, foot: Foot, truth_from_prediction: Similarity
) -> Float[np.ndarray, "n"]:
    """Return the angles in degrees between normals at the truth's samples and at the nearest points."""
    wanted = _normals(truth, samples.faces, samples.weights)
    weights = barycentric(prediction.vertices[prediction.faces[foot.faces]], foot.points)
    found = _normals(prediction, foot.faces, weights) @ truth_from_prediction.rotation.numpy().T
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(wanted, found), axis=1), (wanted * found).sum(1)))


def _normals(mesh: Mesh, faces: Int[np.ndarray, "n"], weights: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return interpolated vertex normals (weighted by corner angles)."""
    angle = igl.PerVertexNormalsWeightingType.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE
    vertex = np.nan_to_num(igl.per_vertex_normals(mesh.vertices, np.ascontiguousarray(mesh.faces), angle))
    return np.einsum("nk,nkd->nd", weights, vertex[mesh.faces[faces]])
