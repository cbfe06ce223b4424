"""The pipeline of a reconstruction: from photos to a head."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from protome.asset.asset import Asset, make_asset
from protome.asset.formats import write_asset
from protome.asset.options import DETAILED, AssetOptions
from protome.asset.picture import Textured
from protome.asset.source import Source
from protome.capture.assess import assess, weighed
from protome.capture.facts import PhotoFacts
from protome.capture.gather import gather
from protome.capture.head import Units
from protome.capture.size import Size
from protome.capture.words import alt_text, warn
from protome.capture_sheet import save_capture_sheet
from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.fit.beginning import begin
from protome.fit.clock import Budget
from protome.fit.config import FIT_PRESETS
from protome.fit.methods import method
from protome.fit.options import Expression, FitOptions
from protome.fit.rays import head_window
from protome.fit.reconstruct import FitResult, fit_head
from protome.fit.residuals import PhotoResidual, checked_residuals
from protome.geometry.camera import Camera
from protome.geometry.harmonics import harmonics
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.geometry.triangles import unit
from protome.measures import measures, reference_points
from protome.meshing.beside import SurfaceBeside
from protome.meshing.extract import coloured, extract_mesh, extract_surface
from protome.meshing.resolution import check_resolution
from protome.meshing.visibility import vertex_visibility
from protome.preview import BACKGROUND, normal_colours, preview_sheet
from protome.prior.prior import FittedHead, Prior
from protome.render.render import Rendering, render
from protome.report.head_report import Shown, write_report
from protome.scene import Scene
from protome.scenes.pictures import eight_bits
from protome.units import UNIT_MM
from protome.util.ahead import OPTIMISERS, imported_ahead
from protome.util.content import content_facts
from protome.util.device import choose_device
from protome.util.files import check_output_folder, write_atomically
from protome.util.memory import peak_memory_mb
from protome.util.progress import progress
from protome.util.together import write_together
from protome.util.versions import versions

RESOLUTIONS = {"draft": 184, "standard": 332, "fine": 443}
"""Cells along the longest side of a head's space (60 cm): about 3.3, 1.8 and 1.4 mm."""
_SAME_FACE_MM = 2.0
"""Up to what expressions move most of the face by, photos show the same one: others give no fine detail."""
_MARGIN = 0.05
"""Margin around the head in the preview, as a share of its extent on each side."""


@dataclass(frozen=True)
class Head:
    """A reconstructed head."""

    mesh: Mesh
    """Head frame, millimetres; with vertex colours, normals and visibility."""
    mesh_world: Mesh
    """The same in the scene's own world frame and units (for photos: equal to `mesh`)."""
    landmarks: dict[str, Float[np.ndarray, "3"]]
    """Six landmarks of the face by name (those of H3DS), where `mesh_world` is."""
    face_points: Float[np.ndarray, "468 3"]
    """What corresponds to MediaPipe's landmarks on the mean head, where `mesh` is."""
    fit: FitResult
    scene: Scene
    preset: str
    seed: int
    device: str
    seconds: dict[str, float]
    """Wall time of each stage."""
    size: Size | None = None
    """Where the size in millimetres comes from; None where it was not recorded."""
    expression: Expression = "as-photo"
    """Which expression the mesh has: the photos', or none."""
    residuals: tuple[PhotoResidual, ...] = ()
    """What the head leaves unexplained of each photo; empty where it was not measured."""

    @property
    def shown(self) -> FittedHead:
        """The fitted head with the expression of the mesh."""
        return _written(self.fit.head, self.expression)

    def camera(self, view: int) -> Camera:
        """Return the camera of an input photo, posed in the head frame in millimetres."""
        return self.posed(self.scene.views[view].camera, self.fit.head_from_world[0 if self.scene.posed else view])

    @staticmethod
    def posed(camera: Camera, head_from_world: Similarity) -> Camera:
        """Return a camera in the head frame in millimetres, from a world frame and the head's place in it."""
        return camera.transformed(head_from_world).transformed(Similarity.scaling(UNIT_MM))

    def render(self, camera: Camera) -> Rendering:
        """Render the head with a camera posed in the head frame in millimetres; depths are in millimetres."""
        head = self.shown
        image = render(head.bind(), camera.transformed(Similarity.scaling(1 / UNIT_MM)), head.bounds)
        return Rendering(image.colour, image.normal, image.depth * UNIT_MM, image.mask)

    def asset(self, options: AssetOptions | None = None) -> Asset:
        """Return the head as a textured asset, head frame, millimetres; its texture is baked from the photos."""
        head = self.shown
        field = head.bind()

        def as_photographed(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
            inner = torch.from_numpy(points / UNIT_MM).float()
            return UNIT_MM * head.points_on(self.fit.head, inner).double().numpy()

        def paint(mesh: Mesh) -> Mesh:
            return coloured(mesh.scaled(1 / UNIT_MM), field, head.bounds).scaled(UNIT_MM)

        gains, shading = self.fit.gains, self.fit.shading
        sources = [
            Source.of(
                view, self.camera(number), None if gains is None else gains[number].cpu().numpy(),
                None if shading is None else partial(_shade, shading[number].cpu()), self._moved(number),
            )
            for number, view in enumerate(self.scene.views)
        ]  # fmt: skip
        views = [
            replace(view, camera=self.camera(number)) for number, view in enumerate(self.scene.views)
            if self._shows(number)
        ]  # fmt: skip
        moved = as_photographed if self.expression == "neutral" else None
        return make_asset(self.mesh, paint, sources, options or self.asset_options(), views, moved)

    def _moved(self, number: int) -> Callable[[Float[np.ndarray, "k 3"]], Float[np.ndarray, "k"]] | None:
        """Return by how many millimetres a photo's own expression moves points of the head that the photos are put on.

        None where all photos have one expression.
        """
        if self.fit.expressions is None:
            return None
        head = self.fit.head
        other = replace(head, latents=replace(head.latents, z_expression=self.fit.expressions[number]))

        def moved(points: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k"]:
            return UNIT_MM * head.apart(other, torch.from_numpy(points / UNIT_MM).float()).double().numpy()

        return moved

    def _shows(self, number: int) -> bool:
        """Return whether a photo shows the face with the expression of the head that the photos are put on."""
        moved = self._moved(number)
        if moved is None:
            return True
        face = torch.from_numpy(self.face_points / UNIT_MM).float()
        face = face if self.expression == "as-photo" else self.shown.points_on(self.fit.head, face)
        return float(np.quantile(moved(UNIT_MM * face.double().numpy()), 0.9)) < _SAME_FACE_MM

    def asset_options(self) -> AssetOptions:
        """Return the options of an asset that a preset has by default: fine recovers detail."""
        return AssetOptions(detail=self.preset in DETAILED)

    def save(
        self, folder: str | Path, command: Sequence[str] = (), asset: AssetOptions | None = None, report: bool = True
    ) -> None:
        """Write the files of the formats asked for, preview.png, capture.png, field.safetensors and result.json.

        With `report`, report.html shows all of them in one page.

        head.ply is the dense mesh with its visibility. The others are the asset's: head.glb, head.obj with head.mtl and
        head.png, head.stl, head.usdz, and head_visibility.png; with detail also head_normal.png and
        head_displacement.png. All files appear together, when they are complete.

        Raises:
            InputError: the folder cannot be made or written.
        """
        folder = Path(folder)
        check_output_folder(folder)
        write_together(folder, lambda part: self._write(part, command, asset or self.asset_options(), report))

    def _write(self, folder: Path, command: Sequence[str], options: AssetOptions, report: bool) -> None:
        with ThreadPoolExecutor(1) as beside:  # the asset keeps one core busy
            plain = beside.submit(self._write_plain, folder, options)
            seconds, asset, picture = dict(self.seconds), None, None
            made = content_facts()
            if report or set(options.formats) - {"ply"}:
                with _timed(seconds, "asset", quiet=True):
                    asset = self.asset(options)
                    write_asset(folder, asset, options.formats)
                picture = Textured.of(asset), asset.normals()
                made["asset"] = asdict(options) | {
                    "vertices": len(asset.atlas.mesh.vertices), "faces": len(asset.atlas.faces),
                }  # fmt: skip
                made["detail"] = asset.detail.facts() if asset.detail is not None else _without_detail(options)
            photos = plain.result()
        write_atomically(folder / "preview.png", lambda path: self._save_preview(path, picture))
        facts = self._facts(command, photos, seconds)
        written = {path.name for path in folder.iterdir()} | {"result.json"} | ({"report.html"} if report else set())
        made["files"] = sorted(written)
        text = json.dumps(facts | made, indent=1, allow_nan=False)
        write_atomically(folder / "result.json", lambda path: path.write_text(text + "\n"))
        if report and asset is not None:
            shown = [
                Shown(view.name, eight_bits(view.image), self.camera(number))
                for number, view in enumerate(self.scene.views)
            ]
            write_report(folder / "report.html", asset, shown, photos, facts, self._nose())

    def _write_plain(self, folder: Path, options: AssetOptions) -> tuple[PhotoFacts, ...]:
        """Write what needs no asset, and return what is known of the photos."""
        if "ply" in options.formats:
            self.mesh_world.save(folder / "head.ply")
        write_atomically(folder / "field.safetensors", self.fit.save)
        photos = assess(self.scene)
        save_capture_sheet(folder / "capture.png", self.scene, photos)
        return photos

    def _expression_facts(self) -> dict[str, object] | None:
        latents = self.fit.head.latents
        if latents.z_expression is None:
            return None
        names = self.fit.head.field.config.expression

        def named(coefficients: Float[Tensor, "e"]) -> dict[str, float]:
            return {name: round(float(own), 4) for name, own in zip(names, coefficients, strict=True)}

        each = self.fit.expressions
        return {
            "written": self.expression,
            "coefficients": named(latents.z_expression),
            "of photos": None
            if each is None
            else {view.name: named(own) for view, own in zip(self.scene.views, each, strict=True)},
        }

    def _nose(self) -> Float[np.ndarray, "3"]:
        """Return the tip of the nose in the head frame, millimetres."""
        if not self.scene.has_own_world:
            return self.landmarks["nose_tip"]
        point = self.fit.head_from_world[0].to("cpu").apply(torch.from_numpy(self.landmarks["nose_tip"])[None].float())
        return UNIT_MM * point[0].double().numpy()

    def _save_preview(self, path: Path, picture: tuple[Textured, Float[np.ndarray, "u 3"]] | None) -> None:
        inner = self.mesh.scaled(1 / UNIT_MM)
        margin = _MARGIN * np.diff(inner.bounds, axis=0) * [[-1.0], [1.0]]
        extent = torch.from_numpy(inner.bounds + margin).float()
        view = head_window(self.scene.views[0].transformed(self.fit.head_from_world[0]), extent, 768)

        def draw(camera: Camera) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
            assert picture is not None
            textured, normals = picture
            camera = camera.transformed(Similarity.scaling(UNIT_MM))
            seen = textured.seen(camera)
            facing = normal_colours(unit(textured.interpolated(seen, normals)), camera)
            return seen.colour, np.where(seen.face[..., None] < 0, BACKGROUND, facing)

        sheet = preview_sheet(
            inner, self.shown.bind(), extent, view.image, view.camera, draw=None if picture is None else draw
        )
        Image.fromarray(np.rint(255 * sheet.clip(0, 1)).astype(np.uint8)).save(path, "PNG")

    def _facts(
        self, command: Sequence[str], photos: Sequence[PhotoFacts], seconds: dict[str, float]
    ) -> dict[str, object]:
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
                "focal_from": view.focal_from,
                "weight": view.weight,
                "remarks": [concern.words for concern in own.concerns],
                "frame": None if view.frame is None else asdict(view.frame),
                "residual": self.residuals[number].facts() if self.residuals else None,
            }
            for number, (view, own) in enumerate(zip(self.scene.views, photos, strict=True))
        ]
        return {
            "command": list(command),
            "preset": self.preset,
            "seed": self.seed,
            "device": self.device,
            "versions": versions(),
            "seconds": {key: round(value, 3) for key, value in seconds.items()},
            "peak_memory_mb": peak_memory_mb(),
            "units": {
                "head.ply": "the scene's" if given else "mm",
                "head.glb": "m",
                "head.obj": "mm",
                "head.stl": "mm",
                "head.usdz": "mm",
                "cameras": "mm",
            },
            "head_mm_from_world": to_mm.compose(world.to("cpu")).matrix().tolist() if given else None,
            "size": None if self.size is None else self.size.facts(),
            "cameras": cameras,
            "cameras_from": self.scene.cameras_from,
            "mesh": {"vertices": len(self.mesh.vertices), "faces": len(self.mesh.faces)},
            "expression": self._expression_facts(),
            "measures_mm": {name: round(value, 1) for name, value in measures(self.mesh, self.face_points).items()},
            "landmarks": {name: point.tolist() for name, point in self.landmarks.items()},
            "gains": None if self.fit.gains is None else self.fit.gains.tolist(),
            "shading": None if self.fit.shading is None else self.fit.shading.tolist(),
            "alt": {"capture.png": alt_text(photos)},
            "curves": self.fit.curves,
        }


def _without_detail(options: AssetOptions) -> str:
    return "no photo shows enough skin in frontal view" if options.detail else "not asked for"


def _shade(shading: Float[Tensor, "8 3"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """Return what a photo's light multiplies the colours of surfaces with these normals by."""
    return (harmonics(torch.from_numpy(np.ascontiguousarray(normals, np.float32))) @ shading).exp().numpy()


def reconstruct(
    inputs: Sequence[str | Path],
    *,
    preset: str = "standard",
    device: str = "auto",
    seed: int = 0,
    units: Units | None = None,
    resolution: int | None = None,
    views: Sequence[str] | None = None,
    time_step: int | None = None,
    outside: bool = False,
    options: FitOptions | None = None,
    strict: bool = False,
    quiet: bool = False,
) -> Head:
    """Reconstruct one person's head from photos and videos, or from one posed scene folder.

    `protome.capture.inputs.load_photos` describes what can be given as photos, up to 32 of which are used.
    `protome.scenes.scene_folder.read_scene` describes scene folders, the names of `views`, the `time_step` in them, and
    files `outside` of them.
    `units` is the length unit of a posed scene's world. A single view does not determine the scale and is assumed in
    millimetres by default; several views determine it, and a given unit is checked against it. `resolution` is the
    number of mesh cells along 60 cm. With a budget in seconds the result depends on the machine; otherwise on a
    processor the same seed gives the same head.

    Raises:
        InputError: an input is missing or unusable, or an option has no such value.
    """
    if preset not in FIT_PRESETS:
        raise InputError(f"no preset is called {preset}: use one of {', '.join(FIT_PRESETS)}")
    if resolution is not None:
        check_resolution(resolution)
    options = options or FitOptions()
    chosen = method(options.method)
    if options.prior is not None:
        chosen = chosen.with_prior(options.prior, options.encoder)
    budget = None if options.budget is None else Budget.parse(options.budget)
    seconds: dict[str, float] = {}
    with _timed(seconds, "prior", quiet=True):
        prior = chosen.prior()
    if options.expression == "neutral" and prior.expression is None:
        raise InputError("this prior has no expressions to take away: leave --expression out, or give another --prior")
    imported_ahead(OPTIMISERS)  # while detection runs in a process of its own
    with _timed(seconds, "capture", quiet):
        scene = gather(inputs, units=units, views=views, time_step=time_step, outside=outside, strict=strict)
        facts = assess(scene)
    scene = weighed(scene, facts)
    warn(facts)
    started = time.perf_counter()
    prior = prior.to(choose_device(device))
    refine = chosen.refine_cameras(scene) if options.refine_cameras is None else options.refine_cameras
    config = replace(chosen.settings(FIT_PRESETS[preset]), refine_cameras=refine)
    begun = begin(scene, prior, chosen, options.size)
    cells = resolution or RESOLUTIONS[preset]
    beside = SurfaceBeside(cells)
    fit = fit_head(
        begun.scene, prior, config, seed=seed, budget=budget, estimate=begun.estimate, expressions=begun.expressions,
        shown=begun.shown, watch=options.watch, quiet=quiet,
        shaped=lambda head: beside.begin(_written(head, options.expression).bind().sdf, head.bounds),
    )  # fmt: skip
    seconds["fit"] = time.perf_counter() - started
    return head_from_fit(
        fit, begun.scene, prior, resolution=cells, preset=preset, seed=seed, seconds=seconds, size=begun.size,
        expression=options.expression, surface=beside.surface, quiet=quiet,
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
    size: Size | None = None,
    expression: Expression = "as-photo",
    surface: Callable[[], Mesh | None] = lambda: None,
    quiet: bool = False,
) -> Head:
    """Extract the mesh of a fitted head with its visibility; the time is added to `seconds`.

    `surface` waits for its bare triangles, where they are already sought.
    """
    seconds = {} if seconds is None else seconds
    device = str(fit.head.bounds.device)
    if fit.cameras is not None:
        pairs = zip(scene.views, fit.cameras, strict=True)
        scene = replace(scene, views=tuple(replace(view, camera=camera) for view, camera in pairs))
    with _timed(seconds, "mesh", quiet):
        written = _written(fit.head, expression)
        found = surface() or extract_surface(written.bind().sdf, fit.head.bounds, resolution)
        inner = coloured(found, written.bind(), fit.head.bounds)
        fit, written = fit.to("cpu"), written.to("cpu")
        placed = [fit.head_from_world[0 if scene.posed else number] for number in range(len(scene.views))]
        cameras = [view.camera.transformed(place) for view, place in zip(scene.views, placed, strict=True)]
        shown = inner
        if expression == "neutral":
            moved = written.points_on(fit.head, torch.from_numpy(inner.vertices).float())
            shown = replace(inner, vertices=moved.double().numpy())
        inner = replace(inner, visibility=vertex_visibility(shown, cameras))
        residuals = checked_residuals(fit, scene.views, cameras, shown)
    out_of_inner = fit.head_from_world[0].inverse() if scene.has_own_world else Similarity.scaling(UNIT_MM)
    points = out_of_inner.apply(prior.to("cpu").landmarks_of(written.field, written.latents)).double().numpy()
    landmarks = dict(zip(LANDMARK_NAMES, points, strict=True))
    mean = reference_points().to(fit.head.bounds) / UNIT_MM
    face = UNIT_MM * prior.to("cpu").points_of(written.field, written.latents, mean).detach().double().numpy()
    return Head(
        inner.scaled(UNIT_MM), inner.transformed(out_of_inner), landmarks, face, fit, scene, preset, seed, device,
        seconds, size, expression, residuals,
    )  # fmt: skip


def _written(head: FittedHead, expression: Expression) -> FittedHead:
    return head.neutral() if expression == "neutral" else head


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
