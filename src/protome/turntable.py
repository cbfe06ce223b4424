"""A turning head as a video or a sheet of pictures, drawn from its textured file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import UInt8
from PIL import Image

from protome.asset.picture import Textured
from protome.errors import InputError
from protome.preview import contact_sheet, side_camera
from protome.util.files import check_output_file, write_atomically
from protome.util.progress import progress

SUFFIXES = (".mp4", ".gif", ".png")
FRAMES, SHEET = 60, 8
"""Pictures of a video and of a sheet, unless another number is asked for."""
_SECONDS = 3.0
"""Duration of one turn."""
_COLUMNS = 4
INSTALL_AV = "pip install av"


def turntable(result: Path, out: Path, *, views: int | None = None, size: int = 512, quiet: bool = False) -> None:
    """Draw the head of a result, or of a GLB file, from all around: an MP4 or GIF of one turn, or a PNG sheet.

    The first picture is frontal; the head turns to its right, so that its left side comes next. No display is needed.

    Raises:
        InputError: the result has no textured head, the file is of another kind, PyAV is missing for an MP4, or a
            number is out of range.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot draw a turning head as {out.name}: use one of {', '.join(SUFFIXES)}")
    count = views or (SHEET if out.suffix.lower() == ".png" else FRAMES)
    if not 1 <= count <= 1000:
        raise InputError(f"{count} views make no turntable: give 1 to 1000")
    if not 64 <= size <= 4096 or size % 2:
        raise InputError(f"pictures of {size} pixels cannot be drawn: give an even number from 64 to 4096")
    if out.suffix.lower() == ".mp4":
        check_av()
    check_output_file(out)
    head = read_textured(result)
    bounds = torch.tensor(np.stack([head.vertices.min(0), head.vertices.max(0)]))
    with progress("drawing", count, quiet=quiet) as step:

        def frames() -> Iterator[UInt8[np.ndarray, "n n 3"]]:
            for number in range(count):
                picture = head.seen(side_camera(360.0 * number / count, bounds, size)).colour
                yield np.rint(255 * picture).astype(np.uint8)
                step(1)

        write = {".mp4": write_mp4, ".gif": write_gif, ".png": _write_sheet}[out.suffix.lower()]
        write_atomically(out, lambda part: write(part, frames(), max(1, round(count / _SECONDS))))


def read_textured(path: Path) -> Textured:
    """Return the textured head of a result folder or a GLB file, millimetres.

    Raises:
        InputError: there is none.
    """
    file = path / "head.glb" if path.is_dir() else path
    if not file.is_file():
        made = "reconstruct with --formats glb" if path.is_dir() else "give a result folder or a GLB file"
        raise InputError(f"{file} does not exist: {made}")
    try:
        parts = list(trimesh.load_scene(file, process=False).geometry.values())
    except Exception as error:  # readers raise various errors on broken files
        raise InputError(f"{file} cannot be read as a GLB file ({error}): give a result of protome") from error
    image = getattr(getattr(parts[0].visual, "material", None), "baseColorTexture", None) if len(parts) == 1 else None
    if image is None or parts[0].visual.uv is None:
        raise InputError(f"{file} has no texture, as heads of older versions: reconstruct the head again")
    mesh = parts[0]
    uv = np.asarray(mesh.visual.uv, np.float64) * [1, -1] + [0, 1]
    vertices, faces = 1000 * np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    normals = np.array(mesh.vertex_normals, np.float64)
    return Textured(vertices, faces, uv, np.asarray(image.convert("RGB")), normals)


def check_av() -> None:
    """Check that videos can be written.

    Raises:
        InputError: PyAV is missing.
    """
    try:
        import av  # noqa: F401  (its absence is what is asked)
    except ImportError as error:
        raise InputError(f"MP4 files are written by PyAV, which is not installed: run `{INSTALL_AV}`") from error


def write_mp4(path: Path, frames: Iterator[UInt8[np.ndarray, "n n 3"]], fps: float) -> None:
    """Write pictures as a video of a number of frames per second."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "yuv420p"
                stream.options = {"crf": "18"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())


def write_gif(path: Path, frames: Iterator[UInt8[np.ndarray, "n n 3"]], fps: float) -> None:
    """Write pictures as a GIF that repeats, of a number of frames per second, of which GIF can show at most 50."""
    pictures = [Image.fromarray(frame) for frame in frames]
    # One palette for all frames: with one for each, the background flickers.
    wide = Image.fromarray(
        np.concatenate([np.asarray(picture) for picture in pictures[:: max(1, len(pictures) // 8)]], 1)
    )
    palette = wide.quantize(256)
    small = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    duration = max(20, round(1000 / fps))
    small[0].save(path, "GIF", save_all=True, append_images=small[1:], duration=duration, loop=0)


def _write_sheet(path: Path, frames: Iterator[UInt8[np.ndarray, "n n 3"]], _: float) -> None:
    pictures = [frame / 255.0 for frame in frames]
    rows = [pictures[start : start + _COLUMNS] for start in range(0, len(pictures), _COLUMNS)]
    Image.fromarray(np.rint(255 * contact_sheet(rows)).astype(np.uint8)).save(path, "PNG")
