"""Which pixels of two photos show the same spot of a head whose cameras and shape are roughly known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from torch import Tensor
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.capture.bundle import Tracks
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh

PIXEL_MM = 0.6
"""Photos are shrunk to pixels of about this size on the head: finer ones show skin that moves and noise."""
SIDE = 11
"""Pixels along a patch's side."""
CORNERS, SPOTS = 220, 1600
"""Most spots of a photo, and of all photos, that are searched in others."""
PARTNERS = 4
"""In how many other photos each is searched: those from the most similar directions."""
LARGEST_RADIUS = 24
"""Pixels up to which spots are searched."""
APART = 5
"""Least distance between them, pixels."""
FLAT = 0.012
"""Standard deviation of the brightness (of 1) below which a patch shows noise alone."""
LEAST_FACING = 0.35
"""Cosine between the surface's normal and the direction to a camera above which the camera sees a spot well."""
MOST_APART = 65.0
"""Degrees between two directions beyond which a spot looks too different."""
LEAST_ALIKE = 0.75
"""Normalised cross-correlation of a match."""
DISTINCT = 0.06
"""How much less alike every other place must be, `NEARBY` pixels and more away."""
NEARBY = 4
BEHIND_MM = 6.0
"""How far behind the first surface a spot may lie and still count as seen."""


@dataclass(frozen=True)
class Picture:
    """One photo as it is compared: grey, shrunk, with its camera."""

    grey: Float[np.ndarray, "h w"]
    """In [0, 1]."""
    person: Float[np.ndarray, "h w"]
    """1 on the person."""
    camera: Camera
    """Posed in the head frame, millimetres (double); its pixels are those of `grey`."""
    factor: float
    """Pixels of `grey` over those of the photo."""

    @property
    def pixel_mm(self) -> float:
        """Size of a pixel on the head."""
        depth = float(self.camera.to_camera(torch.zeros(1, 3, dtype=self.camera.K.dtype))[0, 2])
        return depth / self.camera.focal

    def with_camera(self, camera: Camera) -> Picture:
        """Return the photo with another camera of the original photo's size."""
        height, width = self.grey.shape
        return Picture(self.grey, self.person, camera.resized(width, height), self.factor)

    @staticmethod
    def of(image: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"], camera: Camera) -> Picture:
        """Shrink a photo so that its pixels have `PIXEL_MM` at the head frame's origin."""
        height, width = image.shape[:2]
        depth = float(camera.to_camera(torch.zeros(1, 3, dtype=camera.K.dtype))[0, 2])
        factor = min(1.0, depth / camera.focal / PIXEL_MM)
        size = (max(32, round(factor * width)), max(32, round(factor * height)))
        grey = cv2.cvtColor(np.ascontiguousarray(image.cpu().numpy(), np.float32), cv2.COLOR_RGB2GRAY)
        grey = cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 0.7)
        person = cv2.resize(mask.cpu().numpy().astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return Picture(grey, person, camera.resized(*size), size[0] / width)


@dataclass(frozen=True)
class Matches:
    """What was found in several photos."""

    tracks: Tracks
    asked: Int[np.ndarray, "v v"]
    """How many spots of each photo (row) were searched in each other (column)."""
    found: Int[np.ndarray, "v v"]
    """How many of them were found."""


def match(pictures: Sequence[Picture], head: Mesh, radius_mm: float) -> Matches:
    """Search spots of each photo in the others, up to `radius_mm` beside where the surface leads them.

    The patch around a spot is carried over by the plane that touches the surface there.
    """
    bare = trimesh.Trimesh(head.vertices, head.faces, process=False)
    caster = RayMeshIntersector(bare)
    count = len(pictures)
    corners = min(CORNERS, SPOTS // count)
    asked, hits = np.zeros((count, count), int), np.zeros((count, count), int)
    rows: list[tuple[int, Float[np.ndarray, "2"], float, list[tuple[int, Float[np.ndarray, "2"]]]]] = []
    for number, picture in enumerate(pictures):
        spots, points, normals = _spots(picture, bare, caster, corners)
        if not len(spots):
            continue
        radius = min(LARGEST_RADIUS, max(2, round(radius_mm / picture.pixel_mm)))
        good = np.stack([_sees(other, caster, points, normals) for other in pictures], 1)
        angles = np.stack([_apart(picture.camera, other.camera, points) for other in pictures], 1)
        good &= angles < MOST_APART
        good[:, number] = False
        depths = picture.camera.to_camera(torch.from_numpy(points))[:, 2].tolist()
        for k, spot in enumerate(spots):
            found = []
            nearest = [int(v) for v in np.argsort(angles[k], kind="stable") if good[k, v]]
            for other in nearest[:PARTNERS]:
                asked[number, other] += 1
                at = _search(picture, pictures[other], spot, points[k], normals[k], radius)
                if at is not None:
                    hits[number, other] += 1
                    found.append((other, at / pictures[other].factor))
            if found:
                rows.append((number, spot / picture.factor, depths[k], found))
    if not rows:
        return Matches(Tracks.none(), asked, hits)
    others = np.full((len(rows), PARTNERS), -1)
    there = np.zeros((len(rows), PARTNERS, 2))
    for row, (_, _, _, found) in enumerate(rows):
        for column, (other, at) in enumerate(found):
            others[row, column], there[row, column] = other, at
    tracks = Tracks(
        torch.tensor([row[0] for row in rows]), torch.from_numpy(np.stack([row[1] for row in rows])),
        torch.tensor([row[2] for row in rows]).double(), torch.from_numpy(others), torch.from_numpy(there),
    )  # fmt: skip
    return Matches(tracks, asked, hits)


def _spots(
    picture: Picture, mesh: trimesh.Trimesh, caster: RayMeshIntersector, count: int
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Return pixels with corners, and the surface's points and normals in them."""
    grey = np.rint(255 * picture.grey.clip(0, 1)).astype(np.uint8)
    around = picture.camera.project(torch.from_numpy(np.asarray(mesh.vertices))).numpy()
    inside = np.zeros_like(grey)
    cv2.fillConvexPoly(inside, np.rint(cv2.convexHull(around.astype(np.float32))).astype(np.int32)[:, 0], 1)
    inside &= (picture.person > 0.5).astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(grey, count, 0.003, APART, mask=inside, blockSize=7)
    if corners is None:
        return np.zeros((0, 2)), np.zeros((0, 3)), np.zeros((0, 3))
    spots = corners[:, 0].astype(np.float64) + 0.5
    rays = picture.camera.rays(torch.from_numpy(spots))
    origins, directions = rays.origins.numpy(), rays.directions.numpy()
    points, ray, face = caster.intersects_location(origins, directions, multiple_hits=False)
    normals = mesh.face_normals[face]
    facing = -(normals * directions[ray]).sum(1) > LEAST_FACING
    return spots[ray[facing]], points[facing], normals[facing]


def _sees(
    picture: Picture, caster: RayMeshIntersector, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    centre = picture.camera.centre.numpy()
    away = points - centre
    distance = np.linalg.norm(away, axis=1)
    good = -(normals * away).sum(1) / distance > LEAST_FACING
    hits, ray, _ = caster.intersects_location(
        np.broadcast_to(centre, points.shape), away / distance[:, None], multiple_hits=False
    )
    first = np.full(len(points), np.inf)
    first[ray] = np.linalg.norm(hits - centre, axis=1)
    return good & (distance < first + BEHIND_MM)


def _apart(first: Camera, second: Camera, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    a, b = (points - camera.centre.numpy() for camera in (first, second))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _search(
    first: Picture, second: Picture, spot: Float[np.ndarray, "2"], point: Float[np.ndarray, "3"],
    normal: Float[np.ndarray, "3"], radius: int,
) -> Float[np.ndarray, "2"] | None:  # fmt: skip
    """Return the pixel of the second photo that shows the spot, or None where none is alike and distinct."""
    H = plane_homography(first.camera, second.camera, point, normal)
    half = SIDE // 2
    height, width = first.grey.shape
    left, top = round(spot[0] - 0.5) - half, round(spot[1] - 0.5) - half
    if left < 0 or top < 0 or left + SIDE > width or top + SIDE > height:
        return None
    patch = np.ascontiguousarray(first.grey[top : top + SIDE, left : left + SIDE])
    if patch.std() < FLAT:
        return None
    side = SIDE + 2 * radius
    shift = np.array([[1.0, 0, left - radius], [0, 1, top - radius], [0, 0, 1]])
    # OpenCV puts pixel centres at whole numbers.
    centre = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    warp = np.linalg.inv(centre) @ H @ centre @ shift
    chunk = cv2.warpPerspective(
        second.grey, warp, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0.0
    )
    alike = cv2.matchTemplate(chunk, patch, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(alike.argmax(), alike.shape)
    best = float(alike[row, column])
    last = alike.shape[0] - 1
    if best < LEAST_ALIKE or not (0 < row < last and 0 < column < last):
        return None
    others = alike.copy()
    others[max(0, row - NEARBY + 1) : row + NEARBY, max(0, column - NEARBY + 1) : column + NEARBY] = -1
    if others.max() > best - DISTINCT:
        return None
    x = column - radius + _vertex(alike[row, column - 1 : column + 2])
    y = row - radius + _vertex(alike[row - 1 : row + 2, column])
    place = H @ np.array([spot[0] + x, spot[1] + y, 1.0])
    return place[:2] / place[2]


def plane_homography(
    first: Camera, second: Camera, point: Float[np.ndarray, "3"], normal: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """Return the map of pixels of the first camera to those of the second by way of a plane in the common frame.

    Source: Hartley and Zisserman (2004), equation 13.2.
    """
    A, B = first.T_world_camera.numpy(), second.T_world_camera.numpy()
    rotation = B[:3, :3].T @ A[:3, :3]
    shift = B[:3, :3].T @ (A[:3, 3] - B[:3, 3])
    local = A[:3, :3].T @ normal
    distance = local @ (A[:3, :3].T @ (point - A[:3, 3]))
    return second.K.numpy() @ (rotation + np.outer(shift, local) / distance) @ np.linalg.inv(first.K.numpy())


def _vertex(values: Float[np.ndarray, "3"]) -> float:
    """Return where the parabola through three values at -1, 0 and 1 is highest."""
    bend = float(values[0] - 2 * values[1] + values[2])
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (values[0] - values[2]) / bend, -0.5, 0.5))
