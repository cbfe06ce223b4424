"""The HTML of a report: one file, complete in itself."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

JPEG_QUALITY = 85
SHEET_WIDTH = 1440


def rendered(page: str, **values: Any) -> str:
    """Return a page of this package filled with values; texts are escaped, except those that are `Markup`."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(text_of))
    return environment.get_template(page).render(values)


def text_of(name: str) -> str:
    """Return a page, script or style sheet of this package."""
    return (resources.files("protome") / "report" / name).read_text(encoding="utf-8")


def raw(text: str) -> Markup:
    """Return text that is markup or script already and was made here, not by a user."""
    return Markup(text)


def base64_of(data: bytes) -> Markup:
    """Return data as text of letters, digits and few signs, which no markup can be in."""
    return raw(base64.b64encode(data).decode("ascii"))


def sheet_uri(path: Path) -> Markup:
    """Return the picture in a file as an address that holds it, no wider than a screen needs."""
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"))
    width = min(SHEET_WIDTH, picture.shape[1])
    size = width, max(1, round(picture.shape[0] * width / picture.shape[1]))
    return picture_uri(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def picture_uri(picture: UInt8[np.ndarray, "h w 3"], kind: str = "jpeg") -> Markup:
    """Return a picture (sRGB) as an address that holds it, a JPEG or PNG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    written, data = cv2.imencode(f".{'jpg' if kind == 'jpeg' else 'png'}", picture[..., ::-1], options)
    assert written
    return raw(f"data:image/{kind};base64,") + base64_of(data.tobytes())
