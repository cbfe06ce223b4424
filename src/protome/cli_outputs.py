"""Checks before the work that no command replaces one of its inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from protome.util.files import check_inputs_stay, check_other_folder

HEAD_FILES = (
    "head.ply", "head.glb", "head_visibility.png", "preview.png", "capture.png", "field.safetensors", "result.json",
    "report.html",
)  # fmt: skip
"""What a head is saved as by default."""
ASSET_FILES = (
    "head.obj", "head.mtl", "head.png", "head.stl", "head.usdz", "head_albedo.png", "head_normal.png",
    "head_displacement.png",
)  # fmt: skip
"""What may be asked for besides."""
TEMPLATE_FILES = (
    "head_template.glb", "head_rigged.glb", "head_template.obj", "head_template.mtl", "head_template.png",
)  # fmt: skip
"""A head on the template."""
DETAIL_FILES = (
    "detail.ply", "detail.glb", "displacement.png", "normal.png", "sheet.png", "result.json", "photo.png",
    "coarse_overlay.png", "render.png", "depth.png", "coarse_normals.png", "normals.png", "overlay.png", "report.html",
)  # fmt: skip
MORPH_FILES = ("head.glb", "head.ply", "field.safetensors", "sheet.png")
BUST_FILES = ("landmarks.json", "index.json", "bodies.npz")
SIGHT_FILES = ("perception.md", "perception.json", "photos.jpg", "rendered.jpg", "with_masks.jpg")
PERCEPTION_FILES = ("perception.safetensors", "training.safetensors", "log.jsonl")
ACCURACY_FILES = ("accuracy.png", "accuracy.json", "subjects.jpg", "benchmark.md", "report.html")
SCENE_FOLDERS = ("image", "images", "mask", "masks", "fg_masks", "sparse", "regions", "train")
SCENE_FILES = (
    "cameras.npz", "cameras_sphere.npz", "transforms.json", "transform.json", "transforms_train.json",
    "opencv_cameras.json", "full_head.obj", "landmarks.txt", "cameras.bin", "cameras.txt", "images.bin", "images.txt",
)  # fmt: skip
PHOTO_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".bmp", ".mp4", ".mov",
    ".m4v", ".webm", ".avi", ".xml", ".csv", ".xmp",
))  # fmt: skip
"""What lies in a folder of photos itself: images, videos, and files of cameras that name such images."""
MEASURED_SUFFIXES = frozenset((".obj", ".ply", ".glb", ".stl", ".off", ".npy", ".pp", ".txt"))
MESH_SUFFIXES = frozenset((".ply", ".obj", ".glb"))


def check_reconstruct(inputs: Sequence[Path], out: Path) -> None:
    """Refuse a folder in which photos, or files of a scene, would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    given = [file for path in inputs for file in ([*scene_files(path), *_photos(path)] if path.is_dir() else [path])]
    check_inputs_stay(given, (out / name for name in (*HEAD_FILES, *ASSET_FILES, *TEMPLATE_FILES)))


def check_retopologize(result: Path, out: Path) -> None:
    """Refuse a folder in which the result, given as other links, would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    check_inputs_stay([result / name for name in (*HEAD_FILES, *ASSET_FILES)], (out / name for name in TEMPLATE_FILES))


def check_animate(result: Path, weights: Path, out: Path) -> None:
    """Refuse a file that is the track, or one of the result's own.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    own = (*HEAD_FILES, *ASSET_FILES, *TEMPLATE_FILES)
    check_inputs_stay([weights, *([result / name for name in own] if result.is_dir() else [result])], [out])


def check_inspect(inputs: Sequence[Path], out: Path, export: str | None, json: Path | None) -> None:
    """Refuse a folder in which photos, or files of a scene, would be replaced; to export, also the scene's own folder.

    Raises:
        InputError: as `check_inputs_stay` and `check_other_folder`.
    """
    given = [file for path in inputs for file in (scene_files(path) if path.is_dir() else [path])]
    written = [out / "capture.png", *([] if json is None else [json])]
    if export is not None:
        check_other_folder([path for path in inputs if path.is_dir()], out)
        stems = [path.stem for path in given]
        written += [out / "images" / f"{stem}.png" for stem in stems]
        written += [out / "masks" / f"{stem}{end}" for stem in stems for end in (".png", ".png.png")]
        written += [
            out / "transforms.json",
            *(out / "sparse/0" / f"{n}.txt" for n in ("cameras", "images", "points3D")),
        ]
    check_inputs_stay(given, written)


def check_render(result: Path, out: Path) -> None:
    """Refuse a file that is one of the result's own.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    given = [result / name for name in (*HEAD_FILES, *ASSET_FILES, *TEMPLATE_FILES)] if result.is_dir() else [result]
    check_inputs_stay(given, [out])


def check_detail(photo: Path, model: str, out: Path) -> None:
    """Refuse a folder in which the photo or the head model would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    own = Path(model.partition(":")[2] or model)
    given = [photo, *(_below(own) if own.is_dir() else [own])]
    check_inputs_stay(given, (out / name for name in DETAIL_FILES))


def check_train(population: Path, out: Path, start: Path | None = None) -> None:
    """Refuse a file that is one of the population's or the prior to start from, or whose companion files are.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    beside = (out.with_suffix(".latents.safetensors"), out.with_suffix(".log"))
    written = (out, out.with_name(out.name + ".checkpoint"), *beside)
    inputs = [population / "manifest.json", *population.glob("*.h5"), *([] if start is None else [start])]
    check_inputs_stay(inputs, written)


def check_busts(avatars: Path, out: Path) -> None:
    """Refuse a folder in which avatars, which busts are named as, would be replaced.

    Raises:
        InputError: as `check_other_folder` and `check_inputs_stay`.
    """
    check_other_folder([avatars], out)
    given = list(avatars.rglob("*.glb"))
    check_inputs_stay(given, (out / name for name in (*(path.name for path in given), *BUST_FILES)))


def check_build(sources: Iterable[Path | None], out: Path) -> None:
    """Refuse the folder of one of the sources.

    Raises:
        InputError: as `check_other_folder`.
    """
    check_other_folder([source for source in sources if source is not None], out)


def check_model(inputs: Iterable[Path | None], out: Path, beside: Path | None = None) -> None:
    """Refuse a model's file, or one `beside` it, that is one of the files, or lies in one of the folders, that it is
    learned from.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    check_inputs_stay(_files(inputs), [out, *([] if beside is None else [beside])])


def check_portraits(wardrobe: Path, numbers: range, out: Path) -> None:
    """Refuse a folder in which the wardrobe would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    check_inputs_stay([wardrobe], (out / f"portraits_{number:05d}.npz" for number in numbers))


def check_train_perception(inputs: Iterable[Path | None], out: Path) -> None:
    """Refuse a folder in which weights or portraits that are learned from would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    check_inputs_stay(_files(inputs), (out / name for name in PERCEPTION_FILES))


def check_perception(inputs: Iterable[Path | None], out: Path) -> None:
    """Refuse a folder in which pictures or weights that are measured would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    check_inputs_stay(_files(inputs), (out / name for name in SIGHT_FILES))


def check_sample(prior: Path | None, numbers: range, out: Path) -> None:
    """Refuse a folder in which the prior would be replaced.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    written = (out / f"head_{number:03d}{suffix}" for number in numbers for suffix in (".glb", ".ply"))
    check_inputs_stay([] if prior is None else [prior], chain([out / "sheet.png"], written))


def check_morph(heads: Sequence[str], prior: Path | None, steps: int | None, out: Path) -> None:
    """Refuse a file or folder that would replace one of the two heads, any part of it, or the prior.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    given = [] if prior is None else [prior]
    for name in heads:
        path = Path(name)
        whole = path if path.is_dir() else path.parent if path.name == "field.safetensors" else None
        given += [path] if whole is None else [whole / part for part in (*HEAD_FILES, "sheet.png")]
    written = [out]
    if out.suffix.lower() not in MESH_SUFFIXES:
        steps_names = [f"step_{number:03d}{suffix}" for number in range(steps or 0) for suffix in (".glb", ".ply")]
        written = [out / name for name in (MORPH_FILES if steps is None else (*steps_names, "sheet.png"))]
    check_inputs_stay(given, written)


def check_evaluate(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Refuse files that are measured meshes or landmarks, and in measured folders all files that may be.

    Raises:
        InputError: as `check_inputs_stay`.
    """
    given: list[Path] = []
    for path in inputs:
        if path is not None and path.is_dir():
            given += [*scene_files(path), *(file for file in _below(path) if file.suffix.lower() in MEASURED_SUFFIXES)]
        elif path is not None:
            given.append(path)
    check_inputs_stay(given, (path for path in outputs if path is not None))


def check_accuracy(scenes: Path, meshes: Iterable[str], out: Path) -> None:
    """Refuse the folder of the scenes or of others' meshes (NAME=DIR).

    Raises:
        InputError: as `check_other_folder` and `check_inputs_stay`.
    """
    folders = [scenes, *(Path(given.partition("=")[2]) for given in meshes if "=" in given)]
    check_other_folder(folders, out)
    check_inputs_stay((scenes / "config.toml",), (out / name for name in ACCURACY_FILES))


def check_texture(scenes: Path, photos: Iterable[Path], out: Path) -> None:
    """Refuse the folder of the scenes and those of photos.

    Raises:
        InputError: as `check_other_folder` and `check_inputs_stay`.
    """
    check_accuracy(scenes, (), out)
    check_other_folder(list(photos), out)


def check_casual(captures: Path, out: Path) -> None:
    """Refuse the folder of the captures, and that of one of them.

    Raises:
        InputError: as `check_other_folder`.
    """
    inside = [path.parent for path in captures.glob("*/truth.json")] if captures.is_dir() else []
    check_other_folder([captures, *inside], out)


def scene_files(folder: Path) -> list[Path]:
    """Return the files of a posed scene in any layout: those with fixed names and folders, and those that it lists."""
    found = [folder / name for name in SCENE_FILES] + [folder.resolve().parent / "config.toml"]
    for name in SCENE_FOLDERS:
        found += _below(folder / name)
    try:
        frames = json.loads((folder / "transforms.json").read_text(encoding="utf-8"))["frames"]
        for frame in frames:
            for key in ("file_path", "mask_path", "fg_mask_path"):
                if key in frame:
                    named = folder / str(frame[key]).replace("\\", "/")
                    found += [named, *(named.with_name(named.name + end) for end in (".png", ".jpg", ".jpeg"))]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the scene's reader reports what is wrong with it
    return found


def _photos(folder: Path) -> list[Path]:
    """Return the photos in a folder; none in one with cameras, whose photos lie in folders of their own."""
    if any((folder / name).exists() for name in (*SCENE_FILES, "image", "sparse")):
        return []
    return [path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES]


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else iter(())


def _files(paths: Iterable[Path | None]) -> list[Path]:
    """Return given files, and all files in given folders."""
    found: list[Path] = []
    for path in paths:
        if path is not None:
            found += _below(path) if path.is_dir() else [path]
    return found
