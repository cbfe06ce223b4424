"""A sample portrait: `python -m protome.portrait FILE.png` writes it.

The photo (NASA, astronaut Eileen Collins, public domain) comes with scikit-image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import skimage.data
from PIL import Image

from protome.errors import InputError
from protome.util.files import write_atomically


def save_portrait(path: Path) -> None:
    """Write the portrait, 512 x 512 pixels, to the image file `path`, and make its folder if it is missing.

    Raises:
        InputError: the file cannot be written.
    """
    write_atomically(path, Image.fromarray(skimage.data.astronaut()).save)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m protome.portrait FILE.png")
    try:
        save_portrait(Path(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
