"""Cameras that belong to other photos: found by where each photo's face would place the head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from protome.capture.head import HeadPlacement, Units, head_from_landmarks
from protome.capture.words import joined
from protome.errors import InputError, ProtomeWarning
from protome.geometry.pose import solve_pose, turned_degrees
from protome.landmarks import FaceLandmarks
from protome.scene import View

FITS = 25.0
"""Degrees between two head rotations up to which they are the same: each is found to about 5 degrees, 10 in profile."""
MISFIT = 30.0
"""Degrees between the head that a face shows and the located one from which on the camera is another photo's."""
SEEN_WELL = 45.0
"""Degrees from the front up to which a face shows its rotation; profiles are found up to 35 degrees too frontal."""
_OWN = 20.0
"""Degrees by which another camera must fit better than a photo's own, on average over those that are moved: errors of
faces in profile move no camera, and exchanged neighbours that stand nearer do little harm."""
_FAR = 180.0


@dataclass(frozen=True)
class Exchange:
    """Another order of the cameras, under which more faces agree."""

    camera_of: dict[int, int]
    """For each photo with a face the view that now holds the camera that fits it."""
    agreeing: int
    """Faces that agree with the head then."""

    def sentence(self, views: Sequence[View]) -> str:
        """Say which photos have which cameras."""
        moved = {photo: holder for photo, holder in self.camera_of.items() if photo != holder}
        faces = f"then {self.agreeing} of {len(self.camera_of)} faces agree"
        if len(moved) == 2:
            names = joined([views[photo].name for photo in moved])
            return f"the cameras of {names} are exchanged ({faces}): give each photo its own camera"
        pairs = joined([f"{views[holder].name} has that of {views[photo].name}" for photo, holder in moved.items()])
        return f"the cameras are in another order than the photos, {pairs} ({faces}): give each photo its own camera"


def checked_placement(views: Sequence[View], units: Units | None, face: FaceLandmarks) -> HeadPlacement:
    """Return where the head stands, as `head_from_landmarks`, after a look at whether each photo has its own camera.

    A face that does not fit its camera, whatever the order, is a `ProtomeWarning`.

    Raises:
        InputError: as `head_from_landmarks`; or more faces agree when cameras are exchanged.
    """
    try:
        placement = head_from_landmarks(views, units, face)
    except InputError as error:
        exchange = find_exchange(views, units, face)
        if exchange is None:
            raise
        raise InputError(exchange.sentence(views)) from error
    seen = sum(view.landmarks is not None for view in views)
    if sum(placement.used) < seen:
        exchange = find_exchange(views, units, face)
        if exchange is not None and exchange.agreeing > sum(placement.used):
            raise InputError(exchange.sentence(views))
        odd = [views[i].name for i in _misfits(views, placement, face)]
        if odd:
            warnings.warn(
                f"the face does not fit the camera in {joined(odd)}: check that photo and camera belong together",
                ProtomeWarning,
                stacklevel=2,
            )
    return placement


def find_exchange(views: Sequence[View], units: Units | None, face: FaceLandmarks) -> Exchange | None:
    """Return the order of the cameras in which most faces show one head, or None if that is the given order.

    Each photo alone tells how its head is turned beside its camera, and each camera would turn that head into the
    world. In the right order all these rotations are one. It is searched from the rotation of every pair of a photo
    and a camera; the cheapest assignment of cameras to photos is Hungarian (Kuhn, 1955). Photos are exchanged with
    those of their own size only.
    """
    which = [i for i, view in enumerate(views) if view.landmarks is not None]
    if len(which) < 2:
        return None
    heads = _world_heads([views[i] for i in which], face)
    sizes = [tuple(views[i].mask.shape) for i in which]
    other_size = np.array([[_FAR * (a != b) for b in sizes] for a in sizes])
    own = _OWN * np.eye(len(which))
    best, least = np.arange(len(which)), np.inf
    for candidate in heads.reshape(-1, 3, 3):
        angles = _angles(heads, candidate)
        cost = np.minimum(angles, 2 * FITS) + other_size - own
        order = linear_sum_assignment(cost)[1]
        total = float(cost[np.arange(len(which)), order].sum())
        if total < least - 1e-9:
            best, least = order, total
    if (best == np.arange(len(which))).all():
        return None
    changed = list(views)
    for photo, camera in enumerate(best):
        changed[which[photo]] = replace(views[which[photo]], camera=views[which[camera]].camera)
    try:
        placement = head_from_landmarks(changed, units, face)
    except InputError:
        return None
    if 2 * sum(placement.used) <= len(which):
        return None
    return Exchange({which[photo]: which[camera] for photo, camera in enumerate(best)}, sum(placement.used))


def _misfits(views: Sequence[View], placement: HeadPlacement, face: FaceLandmarks) -> list[int]:
    """Return the views left out whose faces are seen well and turned otherwise than the located head."""
    found = []
    for i, (view, used) in enumerate(zip(views, placement.used, strict=True)):
        if used or view.landmarks is None:
            continue
        head = placement.head_from_world.rotation.double().numpy().T
        own = _world_heads([view], face)[0, 0]
        # Where the camera stands beside the head that the face shows, by the direction in which it looks.
        towards = -own.T @ view.camera.T_world_camera[:3, 2].detach().cpu().double().numpy()
        if turned_degrees(towards) < SEEN_WELL and _angles(own, head) > MISFIT:
            found.append(i)
    return found


def _world_heads(views: Sequence[View], face: FaceLandmarks) -> Float[np.ndarray, "v v 3 3"]:
    """Return the rotation from the head to the world that each photo (row) shows if it has each camera (column)."""
    points, weights = face.positions.double().numpy(), face.weights.double().numpy()
    turned, cameras = [], []
    for view in views:
        assert view.landmarks is not None
        pixels = view.landmarks[: len(points)].detach().cpu().double().numpy()
        turned.append(solve_pose(points, pixels, weights, view.camera.K.detach().cpu().double().numpy()).rotation)
        cameras.append(view.camera.T_world_camera[:3, :3].detach().cpu().double().numpy())
    return np.einsum("cij,pjk->pcik", np.stack(cameras), np.stack(turned))


def _angles(rotations: Float[np.ndarray, "*b 3 3"], other: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*b"]:
    """Return the angles between rotations and another one in degrees."""
    apart = Rotation.from_matrix((rotations @ other.T).reshape(-1, 3, 3)).magnitude()
    return np.degrees(apart).reshape(rotations.shape[:-2])
