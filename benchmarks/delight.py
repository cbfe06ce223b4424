"""Measure the estimated albedo of reconstructed heads against the population's own, which is known.

    python benchmarks/delight.py --population DIR --valid DIR --ict DIR --scenes DIR --out FILE.json

`--scenes` is what benchmarks/scenes.py wrote from the same population and sources. Each head is reconstructed from its
photos with `--delight`. On seen skin of the face the texture, and the texture without its light, are divided by the
true albedo in linear light. An exposure and a white balance are free; what else the ratio varies is light that was
left in.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import igl
import numpy as np
from jaxtyping import Float, UInt8

from command import command
from protome.asset.asset import Asset
from protome.asset.grain import facial
from protome.asset.options import AssetOptions
from protome.benchmark.page import markdown
from protome.errors import InputError
from protome.geometry.mesh import linear_from_srgb
from protome.pipeline import Head, reconstruct
from protome.population.build import Sources, outer_surface
from protome.population.store import read_manifest
from protome.population.surface import OuterSurface
from protome.units import UNIT_MM
from protome.util.files import write_atomically
from scenes import world_from_head

PAGE = """# Estimated albedo

Written by `benchmarks/delight.py` ({views} photos, preset {preset}). Median deviation of a colour from the population's
true albedo on seen skin of the face, in linear light, with exposure and white balance free: of the baked texture, which
holds the photos' light, and of the albedo that `--delight` estimates from it.

{table}
"""
_SEEN = 0.5
"""Visibility from which on a vertex is compared."""
_NEAR_MM = 3.0
"""Distance up to which a point of the true surface is the vertex's."""
_DARK = 0.02
"""Albedo below which there is no skin: lashes, nostrils."""


@dataclass(frozen=True)
class Options:
    """The heads and their sources."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    scenes: Path
    """Folder that benchmarks/scenes.py wrote."""
    out: Path
    """JSON file for the numbers; a page of the same name with .md is written beside it."""
    ict: Path | None = None
    makehuman: Path | None = None
    targets: Path | None = None
    heads: tuple[str, ...] = ("holdout_valid:1", "holdout_ict:0", "holdout_ict:1")
    """Splits and numbers of the heads."""
    views: int = 3
    """Photos of each head."""
    preset: str = "standard"
    """How long each fit works."""


def deviation(ratio: Float[np.ndarray, "k 3"]) -> float:
    """Return the median deviation of ratios from their own median in each channel, as a share."""
    apart = np.log(ratio)
    return float(np.median(np.abs(apart - np.median(apart, axis=0))))


def compared(head: Head, asset: Asset, surface: OuterSurface, name: str) -> tuple[float, float, int]:
    """Return the deviations of the texture and of the estimated albedo from the true one, and the points compared."""
    mesh = asset.atlas.mesh
    assert asset.albedo is not None
    assert mesh.visibility is not None
    chosen = facial(mesh.vertices) & (mesh.visibility > _SEEN)
    inner = mesh.vertices[chosen] / UNIT_MM
    world = head.fit.head_from_world[0].inverse().matrix().double().numpy()
    own = world_from_head(name).inverse().matrix().double().numpy()
    placed = own @ world @ np.concatenate([inner, np.ones((len(inner), 1))], 1).T
    metres = (placed[:3] / placed[3]).T / 1000
    squared, face, near = igl.point_mesh_squared_distance(metres, surface.soup.vertices, surface.soup.faces)
    corners = surface.soup.vertices[surface.soup.faces[face]]
    bary = igl.barycentric_coordinates(near, *np.moveaxis(corners, 1, 0).copy())
    true = (surface.albedo(face, bary) / 255.0) ** 2.2
    usable = (np.sqrt(squared) * 1000 < _NEAR_MM) & (true > _DARK).all(1)
    first = np.full(len(mesh.vertices), -1)
    first[asset.atlas.vertex] = np.arange(len(asset.atlas.vertex))
    uv = asset.atlas.uv[first[chosen]]
    lit, plain = (_shown(image, uv) for image in (asset.colour, asset.albedo))
    return deviation(lit[usable] / true[usable]), deviation(plain[usable] / true[usable]), int(usable.sum())


def _shown(image: UInt8[np.ndarray, "n n 3"], uv: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "k 3"]:
    at = np.clip((uv * image.shape[0]).astype(int), 0, image.shape[0] - 1)
    return np.maximum(linear_from_srgb(image[at[:, 1], at[:, 0]] / 255.0), 1e-3)


def run(options: Options) -> None:
    """Measure the heads, print a table and write the numbers.

    Raises:
        InputError: a head has no scene, or too little of its skin is seen.
    """
    sources = Sources(options.valid, options.ict, options.makehuman, options.targets)
    sources.check()
    for key in options.heads:
        if not (options.scenes / key.replace(":", "_")).is_dir():
            raise InputError(f"{options.scenes} has no scene of {key}: write it with benchmarks/scenes.py")
    composer = sources.composer(options.population / "makehuman.npz")
    seed = read_manifest(options.population).seed
    rows = []
    for key in options.heads:
        split, _, index = key.partition(":")
        name = key.replace(":", "_")
        surface, _ = outer_surface(composer, split, int(index), seed)
        head = reconstruct([options.scenes / name], views=[str(options.views)], preset=options.preset, quiet=True)
        asset = head.asset(AssetOptions(delight=True))
        if asset.albedo is None:
            raise InputError(f"too little skin of {name} is seen to estimate its light: leave it out")
        lit, plain, count = compared(head, asset, surface, name)
        rows.append({"head": name, "texture": lit, "albedo": plain, "points": count})
    write_atomically(options.out, lambda part: part.write_text(json.dumps(rows, indent=1) + "\n"))
    lines = [[str(row["head"]), f"{100 * row['texture']:.1f}", f"{100 * row['albedo']:.1f}"] for row in rows]  # type: ignore[operator]
    means = [float(np.mean([row[key] for row in rows])) for key in ("texture", "albedo")]  # type: ignore[arg-type]
    lines.append(["mean", *(f"{100 * value:.1f}" for value in means)])
    table = markdown(["head", "texture, %", "estimated albedo, %"], lines)
    page = PAGE.format(views=options.views, preset=options.preset, table=table)
    write_atomically(options.out.with_suffix(".md"), lambda part: part.write_text(page, encoding="utf-8"))
    print(table)


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
