"""Photograph held-out heads and a real scan as people do with phones: a folder for each capture, with the truth.

    python benchmarks/captures.py --population DIR --valid DIR --ict DIR --makehuman DIR --out DIR \
        --scan head.glb --landmarks landmarks.json

A capture's folder holds photo_0.jpg and so on, transforms.json (the true cameras in the head frame, millimetres),
truth.json, and the true head of H3DS's layout: full_head.obj, landmarks.txt and regions. Folders wrong_NNN hold the
photos of a capture and one of another person. "protome benchmark casual" measures on them. A stopped run continues.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from captures_truth import Person, people_of, write_scan
from command import command
from eyes import gazes
from phone import exif_of, jpeg, photograph
from protome.errors import InputError
from protome.population.build import Sources
from protome.population.light import Light
from protome.population.store import read_manifest
from protome.scenes.nerfstudio import OPENCV_FROM_OPENGL, TRANSFORMS
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from session import Plan, Shot, draw_shots
from sitter import LitHead

WRONG_EVERY = 2
"""There is one capture with a wrong person for so many others."""


@dataclass(frozen=True)
class Options:
    """The captures and their sources."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    out: Path
    """Folder for the captures."""
    ict: Path
    """ICT's face model, whose expressions the people have."""
    makehuman: Path | None = None
    targets: Path | None = None
    scan: Path | None = None
    """A real scan in metres, photographed too."""
    landmarks: Path | None = None
    """JSON with the scan's landmarks."""
    count: int = 100
    """Number of captures."""
    seed: int = 0


def run(options: Options) -> None:
    """Write the captures that do not exist yet."""
    check_output_folder(options.out)
    if (options.scan is None) != (options.landmarks is None):
        raise InputError("the real scan needs both --scan and --landmarks")
    sources = Sources(options.valid, options.ict, options.makehuman, options.targets)
    sources.check()
    plans = [Plan.of(index) for index in range(options.count)]
    todo = [plan for plan in plans if not (options.out / name_of(plan.index) / "truth.json").is_file()]
    if todo:
        composer = sources.composer(options.population / "makehuman.npz")
        seed = read_manifest(options.population).seed
        with progress("photographing", sum(plan.count for plan in todo)) as step:
            for plan in todo:
                person = people_of(plan.index, composer, seed, options.scan, options.landmarks)
                write_capture(options.out / name_of(plan.index), plan, person, options.seed)
                step(plan.count, name_of(plan.index))
    write_wrong(options.out, options.count, options.seed)


def name_of(index: int) -> str:
    """Return the name of a capture's folder."""
    return f"capture_{index:03d}"


def write_capture(folder: Path, plan: Plan, person: Person, seed: int) -> None:
    """Draw, photograph and write one capture; truth.json comes last."""
    rng = np.random.default_rng([seed, 26, plan.index])
    sitter = person.sitter
    if sitter.faces is None:
        plan = replace(plan, expression=False)
    names = () if sitter.faces is None else sitter.faces.expression_names
    shots = draw_shots(plan, names, (person.top_mm, person.low_mm), rng)
    folder.mkdir(parents=True, exist_ok=True)
    lit: LitHead | None = None
    before: Shot | None = None
    rows = []
    for number, shot in enumerate(shots):
        if lit is None or before is None or not _same_surface(before, shot):
            lit = _lit(person, shot)
            before = shot
        target = np.linalg.inv(shot.T_world_head) @ [*shot.gaze, 1.0]
        gaze = gazes(sitter.eyeballs(), target[:3] / 1000)
        found = photograph(lit, shot.room, shot.camera, shot.T_world_head, gaze, shot.processing)
        measured = plan.keeps_exif and rng.random() < 0.5
        distance = float(np.linalg.norm(shot.head_from_camera[:3, 3]))
        stated = distance * (1 + rng.normal(0, 0.05)) if measured else None
        exif = exif_of(shot.film_mm, stated, f"Lens {shot.film_mm:.1f}") if plan.keeps_exif else None
        data = jpeg(found.image, shot.processing.quality, exif)
        file = f"photo_{number}.jpg"
        write_atomically(folder / file, lambda part, data=data: part.write_bytes(data))  # type: ignore[misc]
        rows.append(
            {
                "file": file, "person": person.name, "wrong": False, **_pose_facts(shot), "distance_mm": distance,
                "film_mm": shot.film_mm, "exif": plan.keeps_exif, "subject_distance_mm": stated,
                "expression": {} if shot.expression is None else {
                    name: float(weight) for name, weight in zip(names, shot.expression, strict=True) if weight
                },
                "behind": shot.behind, "hair_cut": shot.hair_cut, "irises": [asdict(iris) for iris in found.irises],
                "processing": {**asdict(shot.processing), "balance": shot.processing.balance.tolist()},
            }
        )  # fmt: skip
    write_scan(folder, person, sitter.posed(shots[0].expression, shots[0].turn))
    _write_transforms(folder, rows)
    balls = sitter.eyeballs()
    facts = {
        "person": person.name, "kind": plan.kind, "seed": seed, "index": plan.index,
        "expressions": "none: a scan" if sitter.faces is None else "ICT's units" if plan.expression else "neutral",
        "iris_mm": None if sitter.eyes is None else sitter.eyes.iris_mm,
        "eyes_apart_mm": float(1000 * np.linalg.norm(balls[0] - balls[1])) if balls else None,
        "photos": rows,
    }  # fmt: skip
    _write_json(folder / "truth.json", facts)


def _same_surface(first: Shot, second: Shot) -> bool:
    """Return whether the same surface in the same light is seen again, so that it need not be lit anew."""
    return (
        first.light is second.light
        and first.turn is None
        and second.turn is None
        and first.expression is None
        and second.expression is None
    )


def _lit(person: Person, shot: Shot) -> LitHead:
    turn = shot.T_world_head[:3, :3]
    light: Light = replace(shot.light, directions=shot.light.directions @ turn)
    head = person.sitter.posed(shot.expression, shot.turn)
    return LitHead(person.sitter, head, light, np.array([0.0, 1.0, 0.0]) @ turn)


def _pose_facts(shot: Shot) -> dict[str, object]:
    return {
        "width": shot.camera.width, "height": shot.camera.height, "K": shot.camera.K.tolist(),
        "T_head_camera": shot.head_from_camera.tolist(),
    }  # fmt: skip


def _write_transforms(folder: Path, rows: list[dict]) -> None:
    frames = []
    for row in rows:
        K = np.array(row["K"])
        frames.append(
            {
                "file_path": row["file"], "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
                "w": row["width"], "h": row["height"],
                "transform_matrix": (np.array(row["T_head_camera"]) @ OPENCV_FROM_OPENGL).tolist(),
            }
        )  # fmt: skip
    _write_json(folder / TRANSFORMS, {"camera_model": "OPENCV", "frames": frames})


def write_wrong(out: Path, count: int, seed: int) -> None:
    """Write captures in which one photo is of another person, from the photos that are there."""
    truths = {index: json.loads((out / name_of(index) / "truth.json").read_text()) for index in range(count)}
    bases = [index for index, truth in truths.items() if len(truth["photos"]) >= 2]
    rng = np.random.default_rng([seed, 27])
    for number in range(count // WRONG_EVERY):
        base = truths[bases[number % len(bases)]]
        others = [i for i, truth in truths.items() if truth["person"] != base["person"]]
        other = truths[others[rng.integers(len(others))]]
        faces = [k for k, row in enumerate(other["photos"]) if not row["behind"]]
        photo = faces[rng.integers(len(faces))]
        place = int(rng.integers(len(base["photos"]) + 1))
        folder = out / f"wrong_{number:03d}"
        folder.mkdir(exist_ok=True)
        taken = [(name_of(base["index"]), row) for row in base["photos"]]
        taken.insert(place, (name_of(other["index"]), other["photos"][photo] | {"wrong": True}))
        rows = []
        for position, (source, row) in enumerate(taken):
            file = f"photo_{position}.jpg"
            shutil.copyfile(out / source / row["file"], folder / file)
            rows.append(row | {"file": file, "of": f"{source}/{row['file']}"})
        facts = {"person": base["person"], "wrong_person": other["person"], "wrong": place, "photos": rows}
        _write_json(folder / "truth.json", facts)


def _write_json(path: Path, facts: dict) -> None:
    text = json.dumps(facts, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def main() -> int:
    """Write the captures of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
