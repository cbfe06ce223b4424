"""What an asset is to be: its size, files and material."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from protome.errors import InputError

TEXTURE_SIZES = (1024, 2048, 4096)
FORMATS = ("glb", "obj", "ply", "stl", "usdz")
FEWEST_FACES = 2000
MOST_FACES = 2_000_000

DETAILED = ("fine",)
"""The presets that recover fine detail unless asked otherwise."""
MATERIALS = ("unlit", "pbr")
INSTALL_USD = "pip install usd-core"


@dataclass(frozen=True)
class AssetOptions:
    """The options of an asset.

    Raises:
        InputError: one of them has no such value.
    """

    texture: int = 2048
    """Side of the texture in pixels."""
    faces: int | None = 60_000
    """Most triangles; None keeps all."""
    formats: tuple[str, ...] = ("glb", "ply")
    """The files to write."""
    material: str = "unlit"
    """unlit shows the photo's light as it is; pbr is lit by the viewer's."""
    delight: bool = False
    """Whether an estimate of the albedo is written too; with pbr it colours the asset."""
    detail: bool = False
    """Whether fine detail is recovered from the photos' shading, as a normal map and a displacement map."""

    def __post_init__(self) -> None:
        if self.texture not in TEXTURE_SIZES:
            sizes = ", ".join(map(str, TEXTURE_SIZES))
            raise InputError(f"a texture of {self.texture} pixels is not offered: use one of {sizes}")
        if self.faces is not None and not FEWEST_FACES <= self.faces <= MOST_FACES:
            raise InputError(f"{self.faces} faces make no usable head: give {FEWEST_FACES} to {MOST_FACES}, or all")
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            what = f"no format is called {unknown[0]}" if unknown else "no format was named"
            raise InputError(f"{what}: use one or more of {', '.join(FORMATS)}")
        if self.material not in MATERIALS:
            raise InputError(f"no material is called {self.material}: use one of {', '.join(MATERIALS)}")
        if "usdz" in self.formats and find_spec("pxr") is None:
            raise InputError(f"USDZ files are written by usd-core, which is not installed: run `{INSTALL_USD}`")

    @staticmethod
    def parse(texture: int, faces: str, formats: str, material: str, delight: bool, detail: bool) -> AssetOptions:
        """Return the options from words: faces a number or all, formats separated by commas.

        Raises:
            InputError: one of them has no such value.
        """
        words = faces.strip().lower()
        if words != "all" and not words.isdecimal():
            raise InputError(f"{faces} is no number of faces: give {FEWEST_FACES} to {MOST_FACES}, or all")
        names = tuple(dict.fromkeys(name.strip().lower() for name in formats.split(",") if name.strip()))
        return AssetOptions(texture, None if words == "all" else int(words), names, material, delight, detail)
