"""Film a held-out person as people do with a phone, walking around a chair in ten seconds: orbit.mp4, and the truth.

    python benchmarks/video.py --population DIR --valid DIR --ict DIR --makehuman DIR --out DIR

Then "protome reconstruct DIR/orbit.mp4 --out HEAD" makes a head, and "protome evaluate HEAD/head.ply DIR/full_head.obj
--landmarks DIR/landmarks.txt --pred-landmarks HEAD/result.json" measures it. result.json says how long cameras and the
rest took. cameras.json has the pose and the focal length of every frame.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from captures_truth import people_of, write_scan
from command import command
from eyes import gazes
from phone import Processing, photograph
from protome.capture.photo import FILM_DIAGONAL_MM
from protome.geometry.camera import Camera, direction
from protome.population.build import Sources
from protome.population.light import draw_light
from protome.population.store import read_manifest
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from room import draw_room
from sitter import LitHead

WIDTH, HEIGHT, FILM_MM = 720, 1280, 28.0
DISTANCE_MM = 620.0


@dataclass(frozen=True)
class Options:
    """The video and its sources."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    ict: Path
    """ICT's face model."""
    out: Path
    """Folder for the video and the truth."""
    makehuman: Path | None = None
    targets: Path | None = None
    person: int = 0
    """Number of the capture whose person is filmed."""
    seconds: float = 10.0
    rate: int = 15
    """Frames a second."""
    reach: float = 80.0
    """Degrees to either side up to which the camera walks."""
    seed: int = 0


def run(options: Options) -> None:
    """Write the video and the truth."""
    check_output_folder(options.out)
    sources = Sources(options.valid, options.ict, options.makehuman, options.targets)
    sources.check()
    composer = sources.composer(options.population / "makehuman.npz")
    person = people_of(options.person, composer, read_manifest(options.population).seed, None, None)
    rng = np.random.default_rng([options.seed, 29, options.person])
    room = draw_room(rng)
    head = person.sitter.posed(None, None)
    lit = LitHead(person.sitter, head, draw_light(rng), np.array([0.0, 1.0, 0.0]))
    count = round(options.seconds * options.rate)
    cameras = [_camera(share, options.reach, rng) for share in np.linspace(0, 1, count)]
    # The person follows the camera with the eyes as far as eyes turn.
    frames = []
    with progress("filming", count) as step:
        for number, camera in enumerate(cameras):
            ahead = camera.centre.numpy() * [0.4, 1.0, 1.0] / 1000
            how = Processing(
                exposure=1.0, balance=np.ones(3), contrast=1.2, noise=0.015, blur_px=0.8, background_blur_px=0.0,
                quality=90, seed=int(rng.integers(2**31)) + number,
            )  # fmt: skip
            frames.append(photograph(lit, room, camera, np.eye(4), gazes(person.sitter.eyeballs(), ahead), how).image)
            step()
    write_atomically(options.out / "orbit.mp4", lambda part: _encode(part, frames, options.rate))
    write_scan(options.out, person, head)
    poses = [camera.T_world_camera.tolist() for camera in cameras]
    facts = {"focal_px": cameras[0].focal, "width": WIDTH, "height": HEIGHT, "T_head_camera": poses}
    text = json.dumps(facts) + "\n"
    write_atomically(options.out / "cameras.json", lambda part: part.write_text(text, encoding="utf-8"))


def _camera(share: float, reach: float, rng: np.random.Generator) -> Camera:
    """Return the hand-held camera at a share of the way from one side to the other (head frame, millimetres)."""
    focal = FILM_MM * float(np.hypot(WIDTH, HEIGHT)) / FILM_DIAGONAL_MM
    across, up = np.radians(reach * (2 * share - 1)), np.radians(6 * np.sin(7 * share) + rng.normal(0, 0.15))
    middle = torch.tensor([0.0, -20.0, -60.0]).double()
    place = middle + (DISTANCE_MM + 40 * np.sin(5 * share)) * direction(float(across), float(up)).double()
    aim = middle + torch.from_numpy(np.array([8 * np.sin(9 * share), 8 * np.cos(8 * share), 0]) + rng.normal(0, 0.7, 3))
    roll = Rotation.from_euler("z", 2 * np.sin(6 * share), degrees=True).apply([0.0, 1.0, 0.0])
    return Camera.look_at(place, aim, focal, WIDTH, HEIGHT, torch.from_numpy(roll))


def _encode(path: Path, frames: list[UInt8[np.ndarray, "h w 3"]], rate: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "23"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main() -> int:
    """Film with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
