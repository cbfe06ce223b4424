"""Scenes in IDR's layout: `image/`, `mask/` and `cameras.npz` in one folder, or NeuS's `cameras_sphere.npz`.

Source: the data format of "Multiview Neural Surface Reconstruction by Disentangling Geometry and Appearance"
(Yariv et al., 2020), also used by H3DS. For the i-th image (sorted by name) `cameras.npz` holds `world_mat_i`, the
4 x 4 matrix with K [R | t] in its upper rows, and `scale_mat_i`, which maps a normalised frame to the world frame.
The cameras read here are posed in the world frame of `world_mat_i` alone: results come out in the scene's own frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.scene import LARGEST_SIDE, View
from protome.scenes.masks import mask_file_of
from protome.scenes.pictures import choose, pictures_in, read_mask, read_picture, resampled, write_picture
from protome.scenes.posed_file import check_inside
from protome.util.files import write_atomically

CAMERAS = "cameras.npz"
SPHERE_CAMERAS = "cameras_sphere.npz"
"""The name that NeuS gave the file, with another `scale_mat_i`."""


def find_cameras(folder: str | Path) -> Path | None:
    """Return the file with a scene's cameras, or None."""
    return next((path for name in (CAMERAS, SPHERE_CAMERAS) if (path := Path(folder) / name).is_file()), None)


def read_idr(folder: str | Path, names: Sequence[str] | None = None, outside: bool = False) -> tuple[View, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Raises:
        InputError: no images; a named one, its mask or its camera is missing; a mask of another size than its image;
            or a camera that is not finite or singular.
    """
    folder = Path(folder)
    images = pictures_in(folder / "image")
    if not images:
        raise InputError(f"{folder} holds no images: put PNG or JPEG files into {folder / 'image'}")
    wanted = choose([path.name for path in images], names, folder / "image")
    source = find_cameras(folder) or folder / CAMERAS
    cameras = _load_cameras(source)
    indices = _camera_indices(images, cameras)
    masks = pictures_in(folder / "mask")
    if not outside:
        for file in (*(images[i] for i in wanted), *masks):
            check_inside(file, folder)
    return tuple(_read_view(source, images, masks, i, cameras, indices[i]) for i in wanted)


def write_idr(folder: str | Path, views: Sequence[View], world_from_normalised: Similarity | None = None) -> None:
    """Write views as a scene; images and masks become 8-bit PNG files named as the views.

    `world_from_normalised` becomes every `scale_mat_i`: the frame in which the subject fills the unit ball; without it
    the world frame itself.

    Raises:
        InputError: no views, or two views whose files would have the same name.
    """
    if not views:
        raise InputError(f"there are no views to write to {folder}: give at least one")
    stems = [Path(view.name).stem for view in views]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"two views named {twice} cannot be written to {folder}: give each its own name")
    folder = Path(folder)
    ordered = sorted(zip(stems, views, strict=True), key=lambda pair: f"{pair[0]}.png")
    for stem, view in ordered:
        write_picture(folder / "image" / f"{stem}.png", view.image)
        write_picture(folder / "mask" / f"{stem}.png", view.mask)
    write_cameras(folder, [view.camera for _, view in ordered], world_from_normalised)


def write_cameras(folder: Path, cameras: Sequence[Camera], world_from_normalised: Similarity | None) -> None:
    """Write a scene's `cameras.npz`; `world_from_normalised` as in `write_idr`."""
    scale_mat = np.eye(4) if world_from_normalised is None else world_from_normalised.matrix().double().cpu().numpy()
    entries = {f"world_mat_{index}": _world_mat(camera) for index, camera in enumerate(cameras)}
    entries |= {f"scale_mat_{index}": scale_mat for index in range(len(cameras))}
    write_atomically(folder / CAMERAS, lambda part: np.savez(part, **entries))  # type: ignore[arg-type]


def decompose(P: Float[np.ndarray, "3 4"]) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Return intrinsics K and the pose T_world_camera of a projection matrix known up to a factor, also a negative one.

    Raises:
        ValueError: not finite, or no camera with a finite centre has this matrix.
    """
    M = P[:, :3]
    if not np.isfinite(P).all():
        raise ValueError("not finite")
    if abs(np.linalg.det(M / max(np.abs(M).max(), 1e-300))) < 1e-12:
        raise ValueError("singular")
    # The QR decomposition of the inverse is the RQ decomposition with both factors inverted.
    q, r = np.linalg.qr(np.linalg.inv(M))
    rotation, K = q.T, np.linalg.inv(r)
    signs = np.sign(np.diag(K))
    K, rotation = K * signs, signs[:, None] * rotation
    # Only the matrix's own sign is left: a camera does not mirror.
    rotation = rotation * np.sign(np.linalg.det(rotation))
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = rotation.T
    T_world_camera[:3, 3] = -np.linalg.solve(M, P[:, 3])
    return K / K[2, 2], T_world_camera


def _read_view(
    source: Path, images: list[Path], masks: list[Path], index: int, cameras: dict[str, np.ndarray], entry: int
) -> View:
    path = images[index]
    picture = read_picture(path)
    image = picture.colours
    mask_path = _mask_of(path, index, images, masks) or mask_file_of(path)
    if mask_path is None:
        raise InputError(f"the mask of {path} is missing: put {path.stem}.png into {source.parent / 'mask'}")
    width, height = picture.size
    mask = resampled(read_mask(mask_path, path, width, height), image.shape[1], image.shape[0])
    key = f"world_mat_{entry}"
    if key not in cameras:
        raise InputError(f"{source} has no entry {key} for image {path.name}: add the 4 x 4 matrix K [R | t]")
    matrix = cameras[key]
    if matrix.shape not in ((4, 4), (3, 4)) or matrix.dtype.kind not in "fiu":
        raise InputError(f"{key} in {source} is not a 4 x 4 matrix of numbers: store K [R | t] in its upper rows")
    try:
        K, pose = decompose(matrix[:3].astype(np.float64))
    except ValueError as error:
        raise InputError(f"{key} in {source} is {error}: store K [R | t] of image {path.name} in its rows") from error
    camera = Camera(torch.from_numpy(K).float(), torch.from_numpy(pose).float(), width, height)
    camera = camera.resized(image.shape[1], image.shape[0])
    return View(path.name, image, mask, camera, mask_file=mask_path).resized(LARGEST_SIDE)


def _mask_of(path: Path, index: int, images: list[Path], masks: list[Path]) -> Path | None:
    """Return an image's mask: of the same name, else of the same number, else in the same place of a list as long."""
    same = [mask for mask in masks if mask.stem == path.stem]
    if not same and _number(path) is not None:
        same = [mask for mask in masks if _number(mask) == _number(path)]
    if len(same) == 1:
        return same[0]
    numbered = any(_number(mask) is not None for mask in masks)
    return masks[index] if len(masks) == len(images) and not numbered else None


def _number(path: Path) -> int | None:
    """Return the last number in a file's name."""
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else None


def _load_cameras(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path} is missing: a posed scene needs it, with world_mat_0, world_mat_1, ... inside")
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception as error:  # numpy raises many kinds of errors on broken archives
        raise InputError(f"{path} cannot be read as an npz archive of numbers: write it with numpy.savez") from error


def _camera_indices(images: list[Path], cameras: dict[str, np.ndarray]) -> list[int]:
    """Return each image's index in the cameras.

    It is the place in the sorted list where there is one camera for each; a folder that holds only some of a larger
    scene's images goes by the numbers in their names.
    """
    stored = {int(key[10:]) for key in cameras if re.fullmatch(r"world_mat_\d+", key)}
    order = list(range(len(images)))
    numbers = [_number(path) for path in images]
    if stored == set(order) or None in numbers or len(set(numbers)) < len(numbers):
        return order
    return [number for number in numbers if number is not None]


def _world_mat(camera: Camera) -> Float[np.ndarray, "4 4"]:
    pose = camera.T_world_camera.detach().cpu().double().numpy()
    matrix = np.eye(4)
    rotation = pose[:3, :3].T
    matrix[:3] = camera.K.detach().cpu().double().numpy() @ np.concatenate([rotation, -rotation @ pose[:3, 3:]], 1)
    return matrix
