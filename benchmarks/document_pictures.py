"""Draw the pictures of the documentation from a person that never lived, a random head of the prior.

    python benchmarks/document_pictures.py --out docs

photos.jpg: what makes a photo good or bad. method.jpg: the stages of a reconstruction, from a drawn photo of the head,
which is reconstructed for it; its shape, and what was seen and guessed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

import protome
from command import command
from protome.fit.options import FitOptions
from protome.gallery import Meshed, random_head
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.pipeline import Head
from protome.preview import BACKGROUND, coloured_view, contact_sheet
from protome.prior.prior import FittedHead, Prior
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.files import check_output_folder, write_atomically

Picture = Float[np.ndarray, "s s 3"]
GREEN, ORANGE = np.array([0.27, 0.63, 0.47]), np.array([0.92, 0.59, 0.24])
GOOD, BAD = (40, 140, 90), (200, 90, 40)
MIDDLE = (0.0, -45.0, -70.0)
"""What cameras look at, head frame, millimetres."""
PHOTO = 720
"""Pixels along each side of the photo that is reconstructed."""
SEEN = 0.25
"""Visibility from which a surface counts as seen, as in the report."""


@dataclass(frozen=True)
class Options:
    """Options of the pictures."""

    out: Path
    """Folder for photos.jpg and method.jpg."""
    person: int = 3
    """Number of the random person."""
    size: int = 300
    """Pixels along each side of a tile."""
    resolution: int = 220
    """Cells of the person's mesh along the longest side of the modelled volume."""
    preset: str = "standard"
    """How long the reconstruction works."""


@dataclass(frozen=True)
class Sitter:
    """A head and how it is photographed: inner units."""

    made: Meshed

    def camera(self, degrees: float, size: int, distance: float = 1.0, focal: float = 2.4) -> Camera:
        """Return a camera `distance` metres away; `focal` is in sides of the picture."""
        angle = np.radians(degrees)
        target = torch.tensor(MIDDLE) / UNIT_MM
        offset = torch.tensor([np.sin(angle), 0.04, np.cos(angle)]).float() * distance * 1000 / UNIT_MM
        return Camera.look_at(target + offset, target, focal * size, size, size)

    def photo(
        self, camera: Camera, light: tuple[float, float, float] = (0.2, 0.5, 1.0), even: float = 0.8, gain: float = 1.0,
        backdrop: float = 0.72,
    ) -> Picture:  # fmt: skip
        """Return a picture under even light and a lamp from a direction in the camera's frame (right, up, towards)."""
        colour, normals = coloured_view(self.made.mesh, self.made.head.bind(), camera)
        shown = (normals != BACKGROUND).any(-1, keepdims=True)
        lamp = np.array(light) / np.linalg.norm(light)
        lit = np.clip((2 * normals - 1) @ lamp, 0, None)[..., None]
        shade = gain * (even + (1 - even) * 1.6 * lit)
        return np.where(shown, 1 - np.exp(-1.25 * colour * shade) if gain > 1.5 else colour * shade, backdrop).clip(
            0, 1
        )


def labelled(picture: Picture, words: str, good: bool | None = None) -> Picture:
    """Return a tile with words below it and a border in the colour of praise or blame."""
    tile = np.rint(255 * picture).astype(np.uint8).copy()
    colour = (90, 90, 90) if good is None else GOOD if good else BAD
    side = len(tile)
    cv2.rectangle(tile, (0, 0), (side - 1, side - 1), colour, 3 if good is None else 6)
    strip = np.full((34, side, 3), 255, np.uint8)
    cv2.putText(strip, words, (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return np.concatenate([tile, strip]) / 255.0


def advice(sitter: Sitter, size: int) -> list[list[Picture]]:
    """Return the rows of photos.jpg."""
    front = sitter.camera(8, size)
    far = sitter.photo(sitter.camera(8, size, focal=0.55))
    plain = sitter.photo(front)
    blurred = cv2.GaussianBlur(plain, (0, 0), size / 45)
    close = sitter.camera(8, size, 0.28, 0.75)
    cut = front.cropped(size // 3, size // 8, size // 2, size // 2).resized(size, size)
    light = [
        labelled(plain, "even light", True),
        labelled(sitter.photo(front, (-1.0, 0.3, 0.1), 0.12), "light from one side", False),
        labelled(
            sitter.photo(front, even=0.25, gain=0.8, backdrop=1.0, light=(0, 0.2, -1)), "light from behind", False
        ),
        labelled(sitter.photo(front, gain=3.4), "overexposed", False),
    ]
    frame = [
        labelled(plain, "the whole head, with a margin", True),
        labelled(sitter.photo(cut), "cut by the edge", False),
        labelled(far, "too far away", False),
        labelled(blurred, "blurred", False),
    ]  # fmt: skip
    views = [labelled(sitter.photo(sitter.camera(angle, size)), words, True) for angle, words in (
        (0, "front"), (35, "from the person's left"), (-35, "from the person's right"))]  # fmt: skip
    views.append(labelled(sitter.photo(close), "30 cm away: a large nose", False))
    return [light, frame, views]


def stages(first: Head, head: Head, prior: Prior, photo: Picture, size: int) -> list[Picture]:
    """Return the tiles of method.jpg: `first` is the head after one step, which is what the photo predicts."""
    inner = Similarity.scaling(1 / UNIT_MM)
    view, mesh = head.camera(0).transformed(inner).resized(size, size), head.mesh.scaled(1 / UNIT_MM)
    mean = FittedHead(prior.field, prior.mean(), prior.bounds)
    start = coloured_view(Meshed.of(mean, 200).mesh, mean.bind(), view)[0]
    predicted = coloured_view(first.mesh.scaled(1 / UNIT_MM), first.shown.bind(), view)[0]
    colour, normal = coloured_view(mesh, head.shown.bind(), view)
    side = Camera.look_at(
        torch.tensor([650.0, 40.0, 650.0]) / UNIT_MM, torch.tensor(MIDDLE) / UNIT_MM, 2.2 * size, size, size
    )
    assert mesh.visibility is not None
    share = np.clip(mesh.visibility / SEEN, 0, 1)[:, None]
    painted, normals = coloured_view(replace(mesh, colours=share * GREEN + (1 - share) * ORANGE), None, side)
    shown = (normals != BACKGROUND).any(-1, keepdims=True)
    painted = np.where(shown, painted * (0.5 + 0.5 * normals[..., 2:]), painted)
    return [
        labelled(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA), "the photo"),
        labelled(start, "the prior's mean head"),
        labelled(predicted, "predicted from the photo"),
        labelled(colour, "fitted"),
        labelled(normal, "its shape, as normals"),
        labelled(painted.clip(0, 1), "green: seen, orange: guessed"),
    ]


def run(options: Options) -> None:
    """Draw both pictures."""
    check_output_folder(options.out)
    choose_device("cpu")
    prior = Prior.load()
    sitter = Sitter(Meshed.of(random_head(prior, options.person), options.resolution))
    _save([tile for row in advice(sitter, options.size) for tile in row], options.out / "photos.jpg", 4)
    photo = sitter.photo(sitter.camera(12, PHOTO))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        Image.fromarray(np.rint(255 * photo).astype(np.uint8)).save(path)
        first = protome.reconstruct([path], preset="draft", options=FitOptions(budget="1"), quiet=True)
        head = protome.reconstruct([path], preset=options.preset, quiet=True)
    _save(stages(first, head, prior, photo, options.size), options.out / "method.jpg", 3)


def _save(tiles: list[Picture], path: Path, columns: int) -> None:
    sheet = contact_sheet([tiles[start : start + columns] for start in range(0, len(tiles), columns)])
    image = Image.fromarray(np.rint(255 * sheet.clip(0, 1)).astype(np.uint8))
    write_atomically(path, lambda part: image.save(part, "JPEG", quality=85))


def main() -> int:
    """Draw with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
