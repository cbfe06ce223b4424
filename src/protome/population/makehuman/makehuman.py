"""What MakeHuman's CC0 assets add to the population: hair, clothes, skins and shapes, all on the mean VALID body."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float

from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.population.makehuman.clothes import Outfit, fit_outfits
from protome.population.makehuman.fit import MakeHumanFit, fit_makehuman
from protome.population.makehuman.mhclo import AssetFiles, Binding, find_base_mesh, read_image
from protome.population.makehuman.shapes import MakeHumanShapes
from protome.population.makehuman.shells import Cards, HairShell, build_shell
from protome.population.makehuman.skins import Skin, bake_skins
from protome.population.sources.valid import ValidHeads
from protome.util.files import write_arrays

_CACHE_FORMAT = "protome makehuman 1"
_SHARED = ("mask", "cheeks", "neck")
"""What all skins have in common: they are painted on the same texels."""


@dataclass(frozen=True)
class MakeHuman:
    """MakeHuman's assets in the frame and on the topology of the VALID body."""

    reference: Float[np.ndarray, "v 3"]
    """The mean VALID body that everything here is fitted to, metres."""
    hair: tuple[HairShell, ...]
    """Styles that hide an eye come a second time with their fringe cut, named with `-cut`."""
    skins: tuple[Skin, ...]
    clothes: tuple[Outfit, ...]
    """For bare shoulders: on a body whose texture is a skin all over its mask."""
    shapes: MakeHumanShapes | None
    """None without a folder of targets."""

    @staticmethod
    def load(
        folder: Path, valid: ValidHeads, tables: Path, targets: Path | None = None, cache: Path | None = None
    ) -> MakeHuman:
        """Read the assets of a folder and fit them to the mean VALID body.

        `folder` is laid out as MakeHuman's assets are (see `AssetFiles.find`), with `base.obj` in it or beside the
        targets; `tables` holds `mediapipe_landmarks.json`; `targets` is a folder with MakeHuman's morph targets and
        may be missing. Fitting takes one or two minutes; with `cache`, a file that is made if it is missing or does not
        match, a later call takes about a second.

        Raises:
            InputError: a file is missing or unreadable.
        """
        files = AssetFiles.find(folder)
        base = find_base_mesh(folder, *([] if targets is None else [targets, targets.parent]))
        key = _fingerprint([base, *files.paths()], valid, tables, targets)
        found = None if cache is None else _read(cache, key)
        if found is not None:
            return found
        made = _fitted(files, fit_makehuman(ObjMesh.load(base), valid, tables), valid, targets)
        if cache is not None:
            _write(cache, key, made)
        return made


def _fitted(files: AssetFiles, fit: MakeHumanFit, valid: ValidHeads, targets: Path | None) -> MakeHuman:
    shapes = None if targets is None else MakeHumanShapes.load(targets, fit, valid)
    head = Mesh(valid.mean, valid.faces)
    scalp = scalp_faces(valid)
    hair = []
    for style in files.hair:
        mesh = ObjMesh.load(style.mesh)
        places = fit.to_valid(Binding.load(style.binding).apply(fit.base.vertices))
        cards = Cards(places, mesh.faces, mesh.uv[mesh.uv_faces], read_image(style.texture, "RGBA"))
        strands = cards.samples()
        hair.append(build_shell(style.name, strands, head, scalp))
        if strands.hide_eyes():
            hair.append(build_shell(f"{style.name}-cut", strands.cut_open(), head, scalp))
    skins, clothes = bake_skins(files.skins, files.brows, fit, valid), fit_outfits(files.clothes, fit, valid)
    return MakeHuman(valid.mean, tuple(hair), skins, clothes, shapes)


def scalp_faces(valid: ValidHeads) -> Bool[np.ndarray, "f"]:
    """Return which faces of the body are scalp: above a plane from the hairline over the temples to the nape."""
    centres = valid.mean[valid.faces].mean(1)
    return centres[:, 1] - 0.9 * (centres[:, 2] + 0.03) > 0.05


def _fingerprint(files: list[Path], valid: ValidHeads, tables: Path, targets: Path | None) -> str:
    """Return a text that changes with the inputs: names and sizes of files, and the mean body itself."""
    digest = hashlib.sha256(np.ascontiguousarray(valid.mean, np.float32).tobytes())
    shapes = [] if targets is None else sorted(targets.rglob("*.target*"))
    for path in (*files, *shapes):
        digest.update(f"{path.name} {path.stat().st_size if path.is_file() else None}\n".encode())
    # A folder without targets is an error, which a cache made without the folder must not hide.
    digest.update(b"" if targets is None else b"with targets\n")
    mapping = tables / "mediapipe_landmarks.json"
    digest.update(mapping.read_bytes() if mapping.is_file() else b"")
    return f"{_CACHE_FORMAT} {digest.hexdigest()}"


def _write(path: Path, key: str, made: MakeHuman) -> None:
    arrays: dict[str, np.ndarray] = {"key": np.array(key), "reference": made.reference}
    for kind, things in (("hair", made.hair), ("skins", made.skins), ("clothes", made.clothes)):
        arrays[kind] = np.array([thing.name for thing in things], str)
        for number, thing in enumerate(things):
            fields = {name: value for name, value in vars(thing).items() if name not in ("name", *_SHARED)}
            arrays |= {f"{kind}_{number}_{name}": value for name, value in fields.items()}
    if made.skins:
        arrays |= {f"skins_{name}": getattr(made.skins[0], name) for name in _SHARED}
    if made.shapes is not None:
        arrays |= {"shapes": np.array(made.shapes.names, str), "shapes_modes": made.shapes.modes}
    write_arrays(path, arrays)


def _read(path: Path, key: str) -> MakeHuman | None:
    """Return the content of the cache; None where it is missing, damaged or of other inputs."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            if str(stored["key"]) != key:
                return None

            def things(kind: str, *fields: str) -> list[list[Any]]:
                """Return the name and the fields of everything of a kind."""
                names = [str(name) for name in stored[kind]]
                return [[name, *(stored[f"{kind}_{k}_{field}"] for field in fields)] for k, name in enumerate(names)]

            skins = things("skins", "texture")
            shared = [stored[f"skins_{name}"] for name in _SHARED] if skins else []
            shapes = None
            if "shapes" in stored:
                shapes = MakeHumanShapes(tuple(str(name) for name in stored["shapes"]), stored["shapes_modes"])
            return MakeHuman(
                stored["reference"],
                tuple(HairShell(*parts) for parts in things("hair", "vertices", "faces", "colours")),
                tuple(Skin(*parts, *shared) for parts in skins),
                tuple(Outfit(*parts) for parts in things("clothes", "vertices", "faces", "uv", "texture")),
                shapes,
            )
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
