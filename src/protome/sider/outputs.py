"""The output files of `protome detail`: meshes, maps, pictures and numbers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from protome.errors import ProtomeWarning
from protome.evaluate.landmarks import NOW_NAMES
from protome.field.field import CHUNK
from protome.geometry.mesh import Mesh
from protome.preview import BACKGROUND, contact_sheet, square
from protome.relief.photo import Relief
from protome.render.cast import cast, interpolate
from protome.sider.detail_report import write_detail_report
from protome.sider.fit import DetailFit
from protome.sider.maps import bake
from protome.sider.pipeline import DetailedFace
from protome.units import UNIT_MM
from protome.util.files import check_output_folder, write_atomically
from protome.util.together import write_together

MAP_SIZE = 1024
TILE = 384
_LIGHT = torch.tensor([0.35, 0.45, 0.82])
"""Direction to the light of the overlays, in the camera's frame with y up and z towards the camera."""

Picture = Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Pictures:
    """The paper's columns, and the coarse normals for comparison."""

    photo: Picture
    coarse_overlay: Picture
    render: Picture
    depth: Picture
    coarse_normals: Picture
    normals: Picture
    overlay: Picture

    @staticmethod
    def of(face: DetailedFace) -> Pictures:
        """Draw a detailed face from its photo's camera."""
        camera = face.window.camera.to(torch.float32)
        photo = face.window.image.numpy()
        before, coarse_normals = _shaded(face.displaced.base, face, photo)
        after, _ = _shaded(face.mesh, face, photo)
        hits = cast(face.mesh, camera)
        hits_face = torch.from_numpy(face.coarse.face)[hits.faces]
        pixel, points, directions = hits.pixel[hits_face], hits.points[hits_face], hits.directions[hits_face]
        if isinstance(face.fit, Relief):
            colours = [torch.from_numpy(face.fit.explained).reshape(-1, 3)[pixel]]
            assert face.mesh.normals is not None
            own = interpolate(face.mesh.normals, face.mesh, hits)[hits_face]
            normals = [torch.nn.functional.normalize(own, dim=1)]
        else:
            colours, normals = _rendered(face.fit, points, directions)
        depth = camera.to_camera(points)[:, 2]
        near, far = depth.quantile(0.01), depth.quantile(0.99)
        shade = (1 - (depth - near) / (far - near)).clamp(0, 1)[:, None].expand(-1, 3)

        def picture(values: Float[torch.Tensor, "k 3"]) -> Picture:
            flat = torch.full((camera.height * camera.width, 3), BACKGROUND)
            flat[pixel] = values
            return flat.reshape(camera.height, camera.width, 3).numpy()

        return Pictures(
            photo, before, picture(torch.cat(colours)), picture(0.1 + 0.85 * shade), coarse_normals,
            picture(_as_colour(torch.cat(normals), face)), after,
        )  # fmt: skip

    def sheet(self) -> Picture:
        """Return all pictures side by side."""
        tiles = [square(getattr(self, name), TILE) for name in self.__dataclass_fields__]
        return contact_sheet([tiles])


def _rendered(
    fit: DetailFit, points: Float[torch.Tensor, "k 3"], directions: Float[torch.Tensor, "k 3"]
) -> tuple[list[Float[torch.Tensor, "_ 3"]], list[Float[torch.Tensor, "_ 3"]]]:
    """Return the networks' colours and normals at points of the face, millimetres, in parts."""
    field, colours, normals = fit.bind(), [], []
    for part, way in zip((points / UNIT_MM).split(CHUNK), directions.split(CHUNK), strict=True):
        with torch.no_grad():
            at = field.surface(part)
            colours.append(field.colour(part, at.normals, way, at.feature))
            normals.append(at.normals)
    return colours, normals


def _as_colour(normals: Float[torch.Tensor, "k 3"], face: DetailedFace) -> Float[torch.Tensor, "k 3"]:
    towards = normals @ face.window.camera.T_world_camera[:3, :3].float() * torch.tensor([1.0, -1.0, -1.0])
    return 0.5 + 0.5 * towards


def _shaded(mesh: Mesh, face: DetailedFace, photo: Picture) -> tuple[Picture, Picture]:
    """Return the mesh's face in grey over the photo, and its normals."""
    camera = face.window.camera.to(torch.float32)
    hits = cast(mesh, camera)
    own = torch.from_numpy(face.coarse.face)[hits.faces]
    assert mesh.normals is not None
    normals = torch.nn.functional.normalize(interpolate(mesh.normals, mesh, hits), dim=-1)[own]
    colour = _as_colour(normals, face)
    light = (2 * colour - 1) @ torch.nn.functional.normalize(_LIGHT, dim=0)
    over = torch.from_numpy(photo).reshape(-1, 3).clone()
    over[hits.pixel[own]] = (0.15 + 0.75 * light.clamp(min=0))[:, None].expand(-1, 3)
    plain = torch.full_like(over, BACKGROUND)
    plain[hits.pixel[own]] = colour
    return over.reshape(photo.shape).numpy(), plain.reshape(photo.shape).numpy()


def save_detail(face: DetailedFace, folder: str | Path, command: Sequence[str] = ()) -> None:
    """Write a detailed face into a folder.

    detail.ply (millimetres) and detail.glb (metres), displacement.png (16 bits) and normal.png in the model's UV map,
    sheet.png and its separate pictures, report.html, and result.json. A model without a UV map gets no maps, and a
    warning. All files appear together, when they are complete.

    Raises:
        InputError: the folder cannot be made or written.
    """
    folder = Path(folder)
    check_output_folder(folder)
    write_together(folder, lambda part: _write(face, part, command))


def _write(face: DetailedFace, folder: Path, command: Sequence[str]) -> None:
    face.mesh.save(folder / "detail.ply")
    face.mesh.scaled(1e-3).save(folder / "detail.glb")
    pictures = Pictures.of(face)
    for name in pictures.__dataclass_fields__:
        _save_image(folder / f"{name}.png", getattr(pictures, name))
    _save_image(folder / "sheet.png", pictures.sheet())
    result = {"command": list(command)} | _result(face) | {"maps": _save_maps(face, folder)}
    result["files"] = sorted({path.name for path in folder.iterdir()} | {"result.json", "report.html"})
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "result.json", lambda part: part.write_text(text))
    write_detail_report(folder, result)


def _save_maps(face: DetailedFace, folder: Path) -> dict[str, object] | None:
    chart, refined = face.coarse.model.chart, face.coarse.chart
    if chart is None or refined is None:
        message = f"the model {face.coarse.model.name} has no UV map: displacement.png and normal.png are not written"
        warnings.warn(message, ProtomeWarning, stacklevel=3)
        return None
    maps = bake(face.displaced, refined.carry(chart.uv.double().numpy()), refined.faces, MAP_SIZE)
    reach = maps.range_mm()
    height = Image.fromarray(maps.displacement_16bit(reach))
    write_atomically(folder / "displacement.png", lambda part: height.save(part, "PNG"))
    _save_image(folder / "normal.png", 0.5 + 0.5 * maps.normals)
    return {
        "displacement.png": {"mm_at_0": -reach, "mm_at_65535": reach, "along": "the coarse head's normals"},
        "normal.png": {"space": "tangent", "green": "up"},
    }


def _result(face: DetailedFace) -> dict[str, object]:
    camera = face.window.camera
    moved = np.abs(face.displaced.displacement[np.unique(face.coarse.dense.faces[face.coarse.face])])
    return {
        **face.settings,
        "seconds": {key: round(value, 3) for key, value in face.seconds.items()},
        "units": {"detail.ply": "mm", "detail.glb": "m", "camera": "mm"},
        "camera": {
            "what": "the window of the photo that was looked at",
            "width": camera.width, "height": camera.height,
            "K": camera.K.tolist(), "T_head_camera": camera.T_world_camera.tolist(),
        },
        "displacement_mm": {"median": float(np.median(moved)), "p99": float(np.percentile(moved, 99))},
        "mesh": {"vertices": len(face.mesh.vertices), "faces": len(face.mesh.faces)},
        "landmarks": dict(zip(NOW_NAMES, face.now_landmarks().tolist(), strict=True)),
        **_fitted(face.fit),
    }  # fmt: skip


def _fitted(fit: DetailFit | Relief) -> dict[str, object]:
    if isinstance(fit, Relief):
        return {"pixel_mm": fit.pixel_mm, "streaks": fit.streaks()}
    return {"coarse_distance_error_mm": fit.coarse_error_mm, "curves": fit.curves}


def _save_image(path: Path, image: Picture) -> None:
    pixels = Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))
    write_atomically(path, lambda part: pixels.save(part, "PNG"))
