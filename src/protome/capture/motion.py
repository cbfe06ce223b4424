"""Structure from motion on whole pictures: where cameras stood, by what lies around the person and does not move.

Source: Schoenberger and Frahm (2016), Structure-from-motion revisited, by the library pycolmap, an optional extra.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.util.scratch import scratch_folder

INSTALL = "pip install pycolmap"
LEAST_PHOTOS = 6
"""Fewer photos rarely overlap enough."""
LARGEST_SIDE = 1200
"""Pixels of the pictures in which features are found."""
FEATURES = 4096
NEIGHBOURS = 10
"""With how many photos each is compared where directions are roughly known: photos far apart have little in common, and
the search for it is long."""
AGREE_DEGREES, AGREE_DISTANCE = 5.0, 0.15
"""Medians up to which two sets of cameras agree: of the rotations between them, and of the distances of their centres
in units of the distance to the head. A head that turns before a wall that stays is off by tens of degrees."""


def is_installed() -> bool:
    """Return whether the library is there."""
    return importlib.util.find_spec("pycolmap") is not None


def structure_from_motion(
    images: Sequence[Float[Tensor, "_ _ 3"]],
    lenses: Sequence[str],
    focals: Sequence[float | None],
    roughly: Mapping[int, Camera] | None = None,
) -> dict[int, Camera]:
    """Return the cameras of the photos that can be joined, by their numbers, in a frame and a unit of their own.

    Photos of one lens share a focal length in pixels, which is kept where it is given. Where cameras of many photos are
    `roughly` known, in any common frame around the head, only photos from similar directions are compared. Nothing is
    returned where the library is missing, or where photos do not overlap.
    """
    if not is_installed():
        return {}
    colmap: Any = importlib.import_module("pycolmap")
    colmap.logging.minloglevel = int(colmap.logging.Level.FATAL)
    factors = [min(1.0, LARGEST_SIDE / max(image.shape[:2])) for image in images]
    with scratch_folder() as root:
        names: dict[int, str] = {}
        for lens in dict.fromkeys(lenses):
            own = [k for k, name in enumerate(lenses) if name == lens]
            for upright in (True, False):
                some = [k for k in own if (images[k].shape[0] >= images[k].shape[1]) == upright]
                if some:
                    shown = {k: images[k] for k in some}
                    names |= _find_features(colmap, root, shown, factors[some[0]], focals[some[0]])
        matching, mapping = colmap.FeatureMatchingOptions(), colmap.IncrementalPipelineOptions()
        matching.num_threads = mapping.num_threads = 1
        mapping.random_seed, mapping.multiple_models, mapping.extract_colors = 0, False, False
        mapping.min_model_size, mapping.mapper.init_min_tri_angle = LEAST_PHOTOS - 2, 8.0
        mapping.ba_refine_focal_length = not all(focals)
        try:
            pairs = [f"{names[a]} {names[b]}\n" for a, b in pairs_to_compare(len(images), roughly or {})]
            (root / "pairs.txt").write_text("".join(pairs), encoding="utf-8")
            pairing = colmap.ImportedPairingOptions(match_list_path=root / "pairs.txt")
            colmap.match_image_pairs(root / "features.db", matching, pairing, device=colmap.Device.cpu)
            models = colmap.incremental_mapping(root / "features.db", root, root / "model", mapping)
        except (RuntimeError, ValueError):  # nothing to start from
            return {}
    found: dict[int, Camera] = {}
    if not models:
        return found
    largest = max(models.values(), key=lambda model: model.num_reg_images())
    for image in largest.images.values():
        if not image.has_pose:
            continue
        number = int(Path(image.name).stem)
        height, width = images[number].shape[:2]
        camera_from_world = torch.eye(4, dtype=torch.float64)
        camera_from_world[:3] = torch.from_numpy(np.array(image.cam_from_world().matrix()))
        K = torch.from_numpy(np.array(largest.cameras[image.camera_id].calibration_matrix()))
        K[:2] /= factors[number]
        found[number] = Camera(K, torch.linalg.inv(camera_from_world), width, height)
    return found


def _find_features(
    colmap: Any, root: Path, images: Mapping[int, Float[Tensor, "_ _ 3"]], factor: float, focal: float | None
) -> dict[int, str]:
    """Find the features of photos of one lens and size, and return the photos' names in the data base."""
    folder = root / f"lens_{min(images)}"
    folder.mkdir()
    for number, image in images.items():
        picture = Image.fromarray(np.rint(255 * image.cpu().numpy().clip(0, 1)).astype(np.uint8))
        size = (round(factor * picture.width), round(factor * picture.height))
        # Compressed files would take longer to write and read than the features to find.
        picture.resize(size, Image.Resampling.LANCZOS).save(folder / f"{number}.bmp")
    names = {number: f"{folder.name}/{number}.bmp" for number in images}
    reading, extraction = colmap.ImageReaderOptions(), colmap.FeatureExtractionOptions()
    reading.camera_model = "SIMPLE_PINHOLE"
    if focal is not None:
        reading.camera_params = f"{factor * focal},{size[0] / 2},{size[1] / 2}"
    extraction.num_threads, extraction.sift.max_num_features, extraction.sift.first_octave = 1, FEATURES, 0
    colmap.extract_features(
        root / "features.db", root, list(names.values()), camera_mode=colmap.CameraMode.SINGLE, reader_options=reading,
        extraction_options=extraction, device=colmap.Device.cpu,
    )  # fmt: skip
    return names


def pairs_to_compare(count: int, roughly: Mapping[int, Camera]) -> list[tuple[int, int]]:
    """Return the pairs of photos in which the same features are sought.

    Photos whose cameras are `roughly` known are paired with the `NEIGHBOURS` from the most similar directions, others
    with all.
    """
    towards = {number: camera.centre.double() / camera.centre.double().norm() for number, camera in roughly.items()}
    chosen = set()
    for number, own in towards.items():
        others = sorted((other for other in towards if other != number), key=lambda k: -float(own @ towards[k]))
        chosen |= {(min(number, other), max(number, other)) for other in others[:NEIGHBOURS]}
    every = [(first, second) for second in range(count) for first in range(second)]
    return [pair for pair in every if pair in chosen or not (pair[0] in towards and pair[1] in towards)]


def brought_together(motion: Mapping[int, Camera], known: Mapping[int, Camera]) -> dict[int, Camera]:
    """Return cameras of a frame of their own in the frame and the unit of known ones; none where the two disagree.

    The known cameras' frame has its origin in the head. At least three photos must have both cameras.
    """
    both = [number for number in motion if number in known]
    if len(both) < 3:
        return {}
    ours = torch.stack([known[number].T_world_camera.double() for number in both])
    theirs = torch.stack([motion[number].T_world_camera.double() for number in both])
    # Centres of a few cameras do not determine a rotation well; all the cameras' own rotations do.
    u, _, vt = torch.linalg.svd(torch.einsum("nij,nkj->ik", ours[:, :3, :3], theirs[:, :3, :3]))
    turn = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vt))]).double()) @ vt
    turned = torch.einsum("ij,njk->nik", turn, theirs[:, :3, :3])
    away = torch.einsum("nij,nij->n", turned, ours[:, :3, :3])
    degrees = torch.rad2deg(torch.arccos(((away - 1) / 2).clamp(-1, 1)))
    moved, centres = theirs[:, :3, 3] @ turn.T, ours[:, :3, 3]
    about, around = moved - moved.mean(0), centres - centres.mean(0)
    scale = (about * around).sum() / about.square().sum().clamp(min=1e-12)
    apart = (scale * about - around).norm(dim=1) / centres.norm(dim=1)
    if float(scale) <= 0 or float(degrees.median()) > AGREE_DEGREES or float(apart.median()) > AGREE_DISTANCE:
        return {}
    placement = Similarity(turn, centres.mean(0) - scale * moved.mean(0), scale)
    return {
        number: camera.to(torch.float64).transformed(placement).to(torch.float32) for number, camera in motion.items()
    }
