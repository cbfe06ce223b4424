"""A rigged head drawn frame by frame while a track of coefficients plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from protome.errors import InputError
from protome.preview import side_camera
from protome.topology.rigged import RiggedHead
from protome.topology.track import Track
from protome.turntable import check_av, write_gif, write_mp4
from protome.util.files import check_output_file, write_atomically
from protome.util.progress import progress

SUFFIXES = (".mp4", ".gif")
BUST_MM = -135.0
"""The picture shows what lies above this height, head frame."""


def animate(result: Path, weights: Path, out: Path, *, size: int = 512, turn: float = 0.0, quiet: bool = False) -> None:
    """Draw a rigged head that moves as a track says: an MP4 or a GIF with the track's frames per second.

    `turn` is the azimuth of the camera in degrees; positive shows more of the head's left side.

    Raises:
        InputError: the result has no rigged head, the track cannot be read, the file is of another kind, PyAV is
            missing for an MP4, or the size is out of range.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot draw a moving head as {out.name}: use one of {', '.join(SUFFIXES)}")
    if not 64 <= size <= 4096 or size % 2:
        raise InputError(f"pictures of {size} pixels cannot be drawn: give an even number from 64 to 4096")
    if out.suffix.lower() == ".mp4":
        check_av()
    check_output_file(out)
    track = Track.load(weights)
    head = RiggedHead.load(result)
    shown = head.vertices[head.vertices[:, 1] > BUST_MM]
    camera = side_camera(turn, torch.tensor(np.stack([shown.min(0), shown.max(0)])), size)
    count = len(track.weights)
    with progress("drawing", count, quiet=quiet) as step:

        def frames() -> Iterator[UInt8[np.ndarray, "n n 3"]]:
            for number in range(count):
                picture = head.posed(track.frame(number)).seen(camera).colour
                yield np.rint(255 * picture).astype(np.uint8)
                step(1)

        write = write_mp4 if out.suffix.lower() == ".mp4" else write_gif
        write_atomically(out, lambda part: write(part, frames(), track.fps))
