"""Mesh head models in stages: load, then with_shape, with_expression, with_pose.

All lengths are millimetres in the head frame, whose origin lies midway between the eyes of the mean head. Everything is
differentiable with respect to coefficients and poses.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector

JAW = 17
"""The first points of iBUG's 68, along the jaw from the right ear to the left one."""


@dataclass(frozen=True)
class SurfaceAnchors:
    """Points on a mesh by triangle and barycentric weights: they stay on the surface for any shape."""

    faces: Int[Tensor, "n"]
    weights: Float[Tensor, "n 3"]
    """Barycentric; each row sums to one."""
    deviations: Float[Tensor, "n"]
    """Standard deviations of detected landmarks from there, in one direction along the surface, mm."""

    def on(self, vertices: Float[Tensor, "*m v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "*m n 3"]:
        """Return their positions."""
        return (vertices[..., faces[self.faces], :] * self.weights[..., None]).sum(-2)

    def __getitem__(self, index: Int[Tensor, "k"]) -> SurfaceAnchors:
        return SurfaceAnchors(self.faces[index], self.weights[index], self.deviations[index])


@dataclass(frozen=True)
class Chart:
    """A UV map of the surface, in which no two triangles overlap."""

    uv: Float[Tensor, "u 2"]
    """In [0, 1], v up."""
    faces: Int[Tensor, "f 3"]
    """For each triangle of the mesh its corners in `uv`."""


@dataclass(frozen=True)
class Skeleton:
    """Joints with linear blend skinning, the root first; the root turns with the head as a whole."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    """-1 for the root; every other parent precedes its child."""
    joints: Float[Tensor, "j 3"]
    """Of the mean head."""
    joint_identity: Float[Tensor, "i j 3"]
    joint_expression: Float[Tensor, "e j 3"]
    weights: Float[Tensor, "v j"]
    """Skinning weights of each vertex."""
    correctives: Float[Tensor, "c v 3"]
    """Displacements per entry of rotation minus identity: 9 for each joint but the root, row by row."""


@dataclass(frozen=True)
class Contour:
    """Positions of the jaw's landmarks on the silhouette, which depend on the face's yaw."""

    yaw_degrees: Float[Tensor, "y"]
    """Rotation about +y relative to the camera: positive for a face turned to its left."""
    faces: Int[Tensor, "y 17"]
    weights: Float[Tensor, "y 17 3"]

    def at(self, yaw_degrees: float) -> tuple[Int[Tensor, "17"], Float[Tensor, "17 3"]]:
        """Return faces and weights for the nearest of the known yaws."""
        row = int((self.yaw_degrees - yaw_degrees).abs().argmin())
        return self.faces[row], self.weights[row]


@dataclass(frozen=True)
class MorphableModel:
    """A mean head with its identity and expression components."""

    name: str
    template: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    identity: Float[Tensor, "i v 3"]
    """One standard deviation each."""
    expression: Float[Tensor, "e v 3"]
    expression_names: tuple[str, ...]
    expression_deviations: Float[Tensor, "e"]
    """Standard deviations of the expressions' coefficients among people in photos."""
    landmarks: SurfaceAnchors
    """iBUG's 68."""
    dense: SurfaceAnchors | None = None
    """The first 468 of MediaPipe's landmarks, if their positions are known."""
    chart: Chart | None = None
    skeleton: Skeleton | None = None
    contour: Contour | None = None

    def with_shape(self, identity: Float[Tensor, "i"]) -> ShapedHead:
        """Return the head of one person, given in standard deviations."""
        vertices = self.template + torch.einsum("i,ivk->vk", identity, self.identity)
        joints = None
        if self.skeleton is not None:
            joints = self.skeleton.joints + torch.einsum("i,ijk->jk", identity, self.skeleton.joint_identity)
        return ShapedHead(self, identity, vertices, joints)

    def mean(self) -> ShapedHead:
        """Return the mean head."""
        return self.with_shape(self.template.new_zeros(len(self.identity)))

    def landmark_points(self, yaw_degrees: float = 0.0) -> SurfaceAnchors:
        """Return the 68 landmarks of a head at a yaw relative to the camera."""
        if self.contour is None:
            return self.landmarks
        faces, weights = self.contour.at(yaw_degrees)
        own = self.landmarks
        return replace(own, faces=torch.cat([faces, own.faces[JAW:]]), weights=torch.cat([weights, own.weights[JAW:]]))

    def only(self, points: SurfaceAnchors) -> MorphableModel:
        """Return the part of the model that determines some points: three vertices and a triangle for each.

        It takes the same coefficients; its `landmarks` are the points.
        """
        count = len(points.faces)
        vertices = self.faces[points.faces].reshape(-1)
        skeleton = self.skeleton
        if skeleton is not None:
            skeleton = replace(
                skeleton, weights=skeleton.weights[vertices], correctives=skeleton.correctives[:, vertices]
            )
        order = torch.arange(3 * count, device=self.faces.device)
        return replace(
            self,
            template=self.template[vertices],
            faces=order.reshape(-1, 3),
            identity=self.identity[:, vertices],
            expression=self.expression[:, vertices],
            landmarks=replace(points, faces=order[:count]),
            dense=None,
            chart=None,
            skeleton=skeleton,
            contour=None,
        )

    def to(self, target: torch.device | torch.dtype | str) -> MorphableModel:
        """Move to a device or a floating-point type."""
        return _moved(self, target)


@dataclass(frozen=True)
class ShapedHead:
    """The head of one person with a neutral face."""

    model: MorphableModel
    identity: Float[Tensor, "i"]
    vertices: Float[Tensor, "v 3"]
    joints: Float[Tensor, "j 3"] | None

    def with_expression(self, expression: Float[Tensor, "e"]) -> ExpressiveHead:
        """Return the person with an expression, given by its coefficients."""
        vertices = self.vertices + torch.einsum("e,evk->vk", expression, self.model.expression)
        joints = self.joints
        if joints is not None and self.model.skeleton is not None:
            joints = joints + torch.einsum("e,ejk->jk", expression, self.model.skeleton.joint_expression)
        return ExpressiveHead(self, expression, vertices, joints)

    def neutral(self) -> ExpressiveHead:
        """Return the person without an expression."""
        return self.with_expression(self.vertices.new_zeros(len(self.model.expression)))


@dataclass(frozen=True)
class ExpressiveHead:
    """The head of one person with an expression, in the head frame."""

    shaped: ShapedHead
    expression: Float[Tensor, "e"]
    vertices: Float[Tensor, "v 3"]
    """Before the joints' rotation."""
    joints: Float[Tensor, "j 3"] | None

    def with_pose(self, frame_from_head: Similarity, turns: Float[Tensor, "t 3"] | None = None) -> PosedHead:
        """Return the head in another frame, with its joints rotated.

        `turns` are rotation vectors (radians) of all joints but the root, each against its parent; none: at rest.

        Source: Li et al. (2017), Learning a model of facial shape and expression from 4D scans, equations 1 to 4.

        Raises:
            ValueError: turns are given for a model without as many joints.
        """
        vertices, skeleton = self.vertices, self.shaped.model.skeleton
        if turns is not None:
            if skeleton is None or self.joints is None or len(turns) != len(skeleton.parents) - 1:
                raise ValueError(f"{len(turns)} joints cannot be turned in the model {self.shaped.model.name}")
            vertices = _skinned(vertices, self.joints, skeleton, rotation_from_vector(turns))
        return PosedHead(self, frame_from_head, frame_from_head.apply(vertices))


@dataclass(frozen=True)
class PosedHead:
    """The head of one person with an expression and a pose."""

    expressive: ExpressiveHead
    frame_from_head: Similarity
    vertices: Float[Tensor, "v 3"]
    """In the frame."""

    @property
    def model(self) -> MorphableModel:
        """The model it is an instance of."""
        return self.expressive.shaped.model

    def landmarks(self, camera: Float[Tensor, "3"] | None = None) -> Float[Tensor, "68 3"]:
        """Return iBUG's 68 landmarks for a camera at a position in the frame; None: from the front."""
        yaw = 0.0
        if camera is not None:
            yaw = yaw_degrees(self.frame_from_head, camera)
        return self.model.landmark_points(yaw).on(self.vertices, self.model.faces)

    def at(self, points: SurfaceAnchors) -> Float[Tensor, "n 3"]:
        """Return the positions of points of the surface."""
        return points.on(self.vertices, self.model.faces)

    def mesh(self) -> Mesh:
        """Return the surface for files and measurements."""
        return Mesh(self.vertices.detach().cpu().double().numpy(), self.model.faces.cpu().numpy())


def yaw_degrees(frame_from_head: Similarity, camera: Float[Tensor, "3"]) -> float:
    """Return a face's yaw relative to a camera at a position of the frame, positive to the subject's left."""
    there = frame_from_head.inverse().apply(camera).detach()
    return -float(torch.rad2deg(torch.atan2(there[0], there[2])))


def _skinned(
    vertices: Float[Tensor, "v 3"], joints: Float[Tensor, "j 3"], skeleton: Skeleton, turns: Float[Tensor, "t 3 3"]
) -> Float[Tensor, "v 3"]:
    identity = torch.eye(3, dtype=vertices.dtype, device=vertices.device)
    moved = vertices + torch.einsum("c,cvk->vk", (turns - identity).reshape(-1), skeleton.correctives)
    rotations, places = [identity], [joints[0]]
    for joint in range(1, len(skeleton.parents)):
        parent = skeleton.parents[joint]
        places.append(rotations[parent] @ (joints[joint] - joints[parent]) + places[parent])
        rotations.append(rotations[parent] @ turns[joint - 1])
    rotation, place = torch.stack(rotations), torch.stack(places)
    shift = place - torch.einsum("jab,jb->ja", rotation, joints)
    blended = torch.einsum("vj,jab->vab", skeleton.weights, rotation)
    return torch.einsum("vab,vb->va", blended, moved) + skeleton.weights @ shift


def _moved(thing: Any, target: torch.device | torch.dtype | str) -> Any:
    """Move every tensor of nested dataclasses; integers keep their type."""
    if isinstance(thing, Tensor):
        return thing if isinstance(target, torch.dtype) and not thing.is_floating_point() else thing.to(target)
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{field.name: _moved(getattr(thing, field.name), target) for field in fields(thing)})
    return thing
