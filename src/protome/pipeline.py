"""Photos in, head out: the whole path on a page."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from protome.capture.capture import capture_photos, locate_head
from protome.capture.head import UNIT_IN_MM, Units
from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.fit.clock import Budget
from protome.fit.config import FIT_PRESETS
from protome.fit.methods import method
from protome.fit.options import FitOptions
from protome.fit.rays import head_window
from protome.fit.reconstruct import FitResult, fit_head
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_mesh
from protome.meshing.visibility import vertex_visibility
from protome.preview import preview_sheet
from protome.prior.prior import Prior
from protome.render.render import Rendering, render
from protome.scene import Scene
from protome.scenes.scene_folder import is_scene, read_scene
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

MAX_PHOTOS = 32
RESOLUTIONS = {"draft": 184, "standard": 332, "fine": 443}
"""Cells along the longest side of the space that holds a head (60 cm): about 3.3, 1.8 and 1.4 mm."""
_MARGIN = 0.05
"""Around the head in the preview, as a share of its extent on each side."""


@dataclass(frozen=True)
class Head:
    """A reconstructed head."""

    mesh: Mesh
    """Head frame, millimetres; vertex colours and normals, and how well the photos show each vertex."""
    mesh_world: Mesh
    """The same in the scene's own world frame and units (for photos: equal to `mesh`)."""
    landmarks: dict[str, Float[np.ndarray, "3"]]
    """Six landmarks of the face by name (those of H3DS), where `mesh_world` is."""
    fit: FitResult
    scene: Scene
    preset: str
    seed: int
    device: str
    seconds: dict[str, float]
    """Wall time of each stage."""

    def camera(self, view: int) -> Camera:
        """Return the camera of an input photo, posed in the head frame in millimetres."""
        place = self.fit.head_from_world[0 if self.scene.posed else view]
        return self.scene.views[view].camera.transformed(place).transformed(Similarity.scaling(UNIT_MM))

    def render(self, camera: Camera) -> Rendering:
        """Render the head with a camera posed in the head frame in millimetres; depths are in millimetres."""
        head = self.fit.head
        seen = render(head.bind(), camera.transformed(Similarity.scaling(1 / UNIT_MM)), head.bounds)
        return Rendering(seen.colour, seen.normal, seen.depth * UNIT_MM, seen.mask)

    def save(self, folder: str | Path, command: Sequence[str] = ()) -> None:
        """Write head.ply, head.glb, preview.png, field.safetensors and result.json into a folder.

        Raises:
            InputError: the folder cannot be made or written.
        """
        folder = Path(folder)
        check_output_folder(folder)
        self.mesh_world.save(folder / "head.ply")
        self.mesh.scaled(1e-3).save(folder / "head.glb")
        write_atomically(folder / "field.safetensors", self.fit.save)
        write_atomically(folder / "preview.png", self._save_preview)
        facts = json.dumps(self._facts(command), indent=1, allow_nan=False)
        write_atomically(folder / "result.json", lambda path: path.write_text(facts + "\n"))

    def _save_preview(self, path: Path) -> None:
        inner = self.mesh.scaled(1 / UNIT_MM)
        margin = _MARGIN * np.diff(inner.bounds, axis=0) * [[-1.0], [1.0]]
        extent = torch.from_numpy(inner.bounds + margin).float()
        view = head_window(self.scene.views[0].transformed(self.fit.head_from_world[0]), extent, 768)
        sheet = preview_sheet(inner, self.fit.head.bind(), extent, view.image, view.camera)
        Image.fromarray(np.rint(255 * sheet.clip(0, 1)).astype(np.uint8)).save(path, "PNG")

    def _facts(self, command: Sequence[str]) -> dict[str, object]:
        world = self.fit.head_from_world[0]
        to_mm, given = Similarity.scaling(UNIT_MM), self.scene.has_own_world
        spreads = None if self.scene.estimate is None else self.scene.estimate.focal_spread
        cameras = [
            {
                "photo": view.name,
                "width": view.camera.width,
                "height": view.camera.height,
                "K": view.camera.K.tolist(),
                "T_head_camera": self.camera(number).T_world_camera.tolist(),
                "focal_px": view.camera.focal,
                "focal_deviation": None if spreads is None else round(spreads[number], 4),
            }
            for number, view in enumerate(self.scene.views)
        ]
        return {
            "command": list(command),
            "preset": self.preset,
            "seed": self.seed,
            "device": self.device,
            "versions": _versions(),
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            "units": {"head.ply": "the scene's" if given else "mm", "head.glb": "m", "cameras": "mm"},
            "head_mm_from_world": to_mm.compose(world.to("cpu")).matrix().tolist() if given else None,
            "cameras": cameras,
            "cameras_from": _source(self.scene),
            "mesh": {"vertices": len(self.mesh.vertices), "faces": len(self.mesh.faces)},
            "landmarks": {name: point.tolist() for name, point in self.landmarks.items()},
            "gains": None if self.fit.gains is None else self.fit.gains.tolist(),
            "curves": self.fit.curves,
        }


def _source(scene: Scene) -> str:
    """Return where a scene's cameras come from."""
    if scene.has_own_world:
        return "given"
    return "all photos together" if scene.posed else "the landmarks of each photo"


def _versions() -> dict[str, str]:
    names = ("protome", "torch", "numpy", "mediapipe", "trimesh", "scikit-image")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def reconstruct(
    inputs: Sequence[str | Path],
    *,
    preset: str = "standard",
    device: str = "auto",
    seed: int = 0,
    units: Units | None = None,
    resolution: int | None = None,
    views: Sequence[str] | None = None,
    options: FitOptions | None = None,
    strict: bool = False,
    quiet: bool = False,
) -> Head:
    """Reconstruct one person's head from 1 to 32 photos, or from one posed scene folder.

    `protome.scenes.scene_folder.read_scene` says which folders those are, and what `views` of them can be named.
    `units` is the length unit of a posed scene's world. One view alone cannot tell the scale and takes it as
    millimetres if nothing is given; several views find it by themselves and check it against a given unit.
    `resolution` is the number of mesh cells along 60 cm. With a budget in seconds the result depends on the machine;
    otherwise on a processor the same seed gives the same head.

    Raises:
        InputError: an input is missing or unusable, or an option has no such value.
    """
    if preset not in FIT_PRESETS:
        raise InputError(f"no preset is called {preset}: use one of {', '.join(FIT_PRESETS)}")
    if units is not None and units not in UNIT_IN_MM:
        raise InputError(f"{units} is no unit of length here: use one of {', '.join(UNIT_IN_MM)}")
    if resolution is not None and not 16 <= resolution <= 1024:
        raise InputError(f"a resolution of {resolution} makes no usable mesh: give 16 to 1024")
    options = options or FitOptions()
    chosen = method(options.method)
    budget = None if options.budget is None else Budget.parse(options.budget)
    paths = [Path(item) for item in inputs]
    if not 1 <= len(paths) <= MAX_PHOTOS:
        raise InputError(f"{len(paths)} inputs were given: give 1 to {MAX_PHOTOS} photos, or one scene folder")
    seconds: dict[str, float] = {}

    posed = len(paths) == 1 and is_scene(paths[0])
    if views is not None and not posed:
        raise InputError("views were named but no scene folder was given: give just the photos that you want")
    with _timed(seconds, "capture", quiet):
        scene = _posed_scene(paths[0], views, units) if posed else capture_photos(paths, strict=strict)
    with _timed(seconds, "prior", quiet=True):
        where = choose_device(device)
        prior = chosen.prior().to(where)
    started = time.perf_counter()
    refine = chosen.refine_cameras(scene) if options.refine_cameras is None else options.refine_cameras
    config = replace(chosen.settings(FIT_PRESETS[preset]), refine_cameras=refine)
    estimate = chosen.estimate(scene, prior)
    if options.size is not None and scene.estimate is not None:
        scene = options.size.scaled(scene)
    elif options.size is not None:
        estimate = options.size.known(estimate, scene, prior)
    fit = fit_head(scene, prior, config, seed=seed, budget=budget, estimate=estimate, quiet=quiet)
    seconds["fit"] = time.perf_counter() - started
    return head_from_fit(
        fit, scene, prior, resolution=resolution or RESOLUTIONS[preset], preset=preset, seed=seed, seconds=seconds,
        quiet=quiet,
    )  # fmt: skip


def head_from_fit(
    fit: FitResult,
    scene: Scene,
    prior: Prior,
    *,
    resolution: int,
    preset: str = "standard",
    seed: int = 0,
    seconds: dict[str, float] | None = None,
    quiet: bool = False,
) -> Head:
    """Mesh a fitted head and say what the photos show of it; the time it takes is added to `seconds`."""
    seconds = {} if seconds is None else seconds
    device = str(fit.head.bounds.device)
    if fit.cameras is not None:
        pairs = zip(scene.views, fit.cameras, strict=True)
        scene = replace(scene, views=tuple(replace(view, camera=camera) for view, camera in pairs))
    with _timed(seconds, "mesh", quiet):
        inner = extract_mesh(fit.head.bind(), fit.head.bounds, resolution)
        fit = fit.to("cpu")
        placed = [fit.head_from_world[0 if scene.posed else number] for number in range(len(scene.views))]
        cameras = [view.camera.transformed(place) for view, place in zip(scene.views, placed, strict=True)]
        inner = replace(inner, visibility=vertex_visibility(inner, cameras))
    out_of_inner = fit.head_from_world[0].inverse() if scene.has_own_world else Similarity.scaling(UNIT_MM)
    points = out_of_inner.apply(prior.to("cpu").landmarks_of(fit.head.field, fit.head.latents)).double().numpy()
    landmarks = dict(zip(LANDMARK_NAMES, points, strict=True))
    return Head(
        inner.scaled(UNIT_MM), inner.transformed(out_of_inner), landmarks, fit, scene, preset, seed, device, seconds,
    )  # fmt: skip


def _posed_scene(folder: Path, names: Sequence[str] | None, units: Units | None) -> Scene:
    views = read_scene(folder, names)
    # Several views tell the head's size in whatever unit the scene has; one view alone cannot.
    return locate_head(views, units or ("mm" if len(views) == 1 else None))


def mean_head(resolution: int = 288) -> Mesh:
    """Return the mean head of the shipped prior (no photo used), head frame, millimetres."""
    choose_device("cpu")
    prior = Prior.load()
    return extract_mesh(prior.bind(prior.mean()), prior.bounds, resolution).scaled(UNIT_MM)


@contextmanager
def _timed(seconds: dict[str, float], stage: str, quiet: bool) -> Iterator[None]:
    started = time.perf_counter()
    with progress(stage, 1, quiet=quiet) as step:
        yield
        step(1)
    seconds[stage] = time.perf_counter() - started
