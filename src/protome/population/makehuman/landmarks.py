"""Where MediaPipe's face landmarks lie on MakeHuman's base mesh: builds `assets/makehuman_landmarks.npz`.

Run it with `python -m protome.population.makehuman.landmarks MAKEHUMAN OUT.npz`, where MAKEHUMAN holds MakeHuman's
base mesh, eyes and skins (CC0). The bare base mesh is rendered with a skin and eyes from the front and from both
sides, MediaPipe detects landmarks in the renders, and their pixels are cast back onto the mesh.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.capture.landmarks import choose_face, detect
from protome.geometry.align import Surface
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.geometry.triangles import barycentric
from protome.landmarks import load_face_landmarks
from protome.population.makehuman.fit import BaseLandmarks
from protome.population.makehuman.mhclo import BODY_GROUP, Binding, read_image
from protome.population.texture import texels
from protome.render.cast import cast

YAWS_DEGREES = (0.0, -25.0, 25.0)
FACE_DM = (0.0, 7.35, 1.0)
"""The middle of the base mesh's face, which the cameras look at."""
DISTANCE_DM, FOCAL, SIDE = 14.0, 4200.0, 1024
LIGHT = np.array([0.3, 0.4, 0.86])


@dataclass(frozen=True)
class _Painted:
    """The body's skin and the opaque part of the eyes as one mesh with a picture for each."""

    mesh: Mesh
    body_faces: int
    corners_uv: Float[np.ndarray, "f 3 2"]
    skin: np.ndarray
    eye: np.ndarray

    @staticmethod
    def load(folder: Path) -> _Painted:
        base = ObjMesh.load(folder / "base.obj")
        body = base.group(BODY_GROUP)
        eyes = ObjMesh.load(folder / "eyes" / "high-poly.obj")
        places = Binding.load(folder / "eyes" / "high-poly.mhclo").apply(base.vertices)
        skin = read_image(folder / "skins" / "young_lightskinned_male_diffuse.jpg", "RGB")
        eye = read_image(folder / "eyes" / "brown_eye.png", "RGBA")
        # The cornea is a layer of its own, transparent in the picture.
        opaque = texels(eye, eyes.uv[eyes.uv_faces].mean(1))[:, 3] > 128
        faces = np.concatenate([body.faces, eyes.faces[opaque] + len(base.vertices)])
        uv = np.concatenate([base.uv[body.uv_faces], eyes.uv[eyes.uv_faces[opaque]]])
        return _Painted(Mesh(np.concatenate([base.vertices, places]), faces), len(body.faces), uv, skin, eye[..., :3])

    def picture(self, camera: Camera) -> Float[torch.Tensor, "h w 3"]:
        """Return the image in a camera, in a soft light from one side above."""
        hits = cast(self.mesh, camera)
        faces, weights = hits.faces.numpy(), hits.weights.numpy()
        uv = (self.corners_uv[faces] * weights[..., None]).sum(1)
        on_body = (faces < self.body_faces)[:, None]
        colour = np.where(on_body, texels(self.skin, uv), texels(self.eye, uv)) / 255.0
        normals = np.array(self.mesh.to_trimesh().vertex_normals)[self.mesh.faces[faces]]
        shade = 0.55 + 0.45 * (normals * weights[..., None]).sum(1) @ LIGHT
        image = torch.full((camera.height * camera.width, 3), 0.6)
        image[hits.pixel] = torch.from_numpy(colour * np.clip(shade, 0.2, 1)[:, None]).float()
        return image.reshape(camera.height, camera.width, 3)


def build_makehuman_landmarks(folder: Path) -> BaseLandmarks:
    """Return the landmarks on the base mesh.

    Raises:
        InputError: a file is missing, or MediaPipe is.
    """
    painted = _Painted.load(folder)
    target = torch.tensor(FACE_DM)
    cameras = []
    for yaw in YAWS_DEGREES:
        angle = torch.deg2rad(torch.tensor(yaw))
        offset = DISTANCE_DM * torch.stack([torch.sin(angle), torch.zeros(()), torch.cos(angle)])
        cameras.append(Camera.look_at(target + offset, target, FOCAL, SIDE, SIDE))
    found = detect([painted.picture(camera) for camera in cameras], with_masks=False)
    mesh = painted.mesh.to_trimesh()
    rays, normals = RayMeshIntersector(mesh), np.array(mesh.face_normals)
    total, share = np.zeros((468, 3)), np.zeros((468, 1))
    for camera, detected in zip(cameras, found, strict=True):
        beams = camera.rays(choose_face(detected, "the picture of the base mesh")[:468].float())
        points, beam, face = rays.intersects_location(
            beams.origins.double().numpy(), beams.directions.double().numpy(), multiple_hits=False
        )
        # A point viewed at a grazing angle is uncertain.
        facing = np.clip(-(normals[face] * beams.directions[beam].double().numpy()).sum(1), 0, 1)[:, None] ** 2
        total[beam] += facing * points
        share[beam] += facing
    points = total / np.maximum(share, 1e-9)
    body = mesh.faces[: painted.body_faces]
    foot = Surface(Mesh(painted.mesh.vertices, body)).closest(points)
    triangles = np.asarray(body[foot.faces], np.int64)
    shares = barycentric(painted.mesh.vertices[triangles], foot.points)
    # Landmarks off the mesh in all views get almost no weight.
    weights = load_face_landmarks().weights.double().numpy() * np.where(share[:, 0] > 0.02, 1.0, 1e-6)
    return BaseLandmarks(triangles, np.clip(shares, 0, 1), weights)


if __name__ == "__main__":
    build_makehuman_landmarks(Path(sys.argv[1])).save(Path(sys.argv[2]))
