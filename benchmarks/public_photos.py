"""Collect the fixed set of public photos that changes of capture, fit and finish are looked at with.

    python benchmarks/public_photos.py --clones DIR --out build/photos

The photos are not ours and stay out of the repository. DIR holds clones of the repositories of `PHOTOS`, bare or not,
each in a folder OWNER+NAME. Several people, cut hair, hats, grey pictures, small ones, paintings and strong expressions
are among them; the last one is a cat, which has to be refused.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from command import command
from protome.errors import InputError
from protome.util.files import check_output_folder, write_atomically

RECOGNITION = "ageitgey/face_recognition"
FACE_API = "justadudewhohacks/face-api.js"
PORTRAITS = "KwaiVGI/LivePortrait"
HUMAN = "vladmandic/human"
SINGLE = "microsoft/Deep3DFaceReconstruction"
PHOTOS = (
    ("01_obama", RECOGNITION, "examples/obama.jpg"),
    ("02_biden", RECOGNITION, "examples/biden.jpg"),
    ("03_alex", RECOGNITION, "examples/alex-lacamoire.png"),
    ("04_lin", RECOGNITION, "examples/lin-manuel-miranda.png"),
    ("05_two", RECOGNITION, "examples/two_people.jpg"),
    ("06_kit_rose", RECOGNITION, "examples/knn_examples/test/kit_with_rose.jpg"),
    ("07_rose", RECOGNITION, "examples/knn_examples/train/rose_leslie/img1.jpg"),
    ("08_front", "Fanziapril/mvfnet", "data/imgs/front.jpg"),
    ("09_amy", FACE_API, "examples/images/amy/amy1.png"),
    ("10_penny", FACE_API, "examples/images/penny/penny1.png"),
    ("11_raj", FACE_API, "examples/images/raj/raj1.png"),
    ("12_happy", FACE_API, "examples/images/happy.jpg"),
    ("13_surprised", FACE_API, "examples/images/surprised.jpg"),
    ("14_group", HUMAN, "samples/in/group-2.jpg"),
    ("15_dylan", PORTRAITS, "assets/examples/source/s2.jpg"),
    ("16_pearl", PORTRAITS, "assets/examples/source/s10.jpg"),
    ("17_diana", PORTRAITS, "assets/examples/source/s1.jpg"),
    ("18_teen", HUMAN, "samples/in/stock-teen-6.jpg"),
    ("19_long", SINGLE, "input/015309.jpg"),
    ("20_red", SINGLE, "input/000002.jpg"),
    ("21_cat", PORTRAITS, "assets/examples/source/s39.jpg"),
)
"""Name, repository, and path in it: twenty photos of people, and the cat."""


@dataclass(frozen=True)
class Options:
    """Where the photos come from and go to."""

    clones: Path
    """Folder of the clones."""
    out: Path
    """Folder for the photos."""


def run(options: Options) -> None:
    """Write the photos."""
    check_output_folder(options.out)
    for name, repository, path in PHOTOS:
        clone = options.clones / repository.replace("/", "+")
        if not clone.is_dir():
            raise InputError(f"{clone}: there is no clone of https://github.com/{repository} here")
        shown = subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], capture_output=True)
        if shown.returncode:
            raise InputError(f"{clone}: {shown.stderr.decode(errors='replace').strip()}")
        target = options.out / (name + PurePosixPath(path).suffix)
        write_atomically(target, partial(_write, shown.stdout))


def _write(photo: bytes, path: Path) -> None:
    path.write_bytes(photo)


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
