"""`protome inspect`: what Protome sees in photos, before any head is made."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from protome.capture.assess import assess, weighed
from protome.capture.facts import PhotoFacts
from protome.capture.gather import gather
from protome.capture.head import Units
from protome.capture.words import alt_text, line, sentences, warn
from protome.capture_sheet import save_capture_sheet
from protome.scene import Scene
from protome.scenes.export import write_colmap, write_nerfstudio
from protome.util.files import check_output_folder, write_atomically
from protome.util.together import write_together

Layout = Literal["colmap", "nerfstudio"]


def inspect_photos(
    inputs: Sequence[str | Path],
    out: Path,
    *,
    units: Units | None = None,
    views: Sequence[str] | None = None,
    time_step: int | None = None,
    outside: bool = False,
    strict: bool = False,
    export: Layout | None = None,
    json: Path | None = None,
) -> tuple[PhotoFacts, ...]:
    """Write capture.png into a folder, print a line for each photo, and return the facts.

    `inputs`, `units`, `views`, `time_step`, `outside` and `strict` are as in `protome.pipeline.reconstruct`. `export`
    also writes the images, masks and cameras into the folder, as another program's scene; `json` is a file for the
    facts.

    Raises:
        InputError: as `protome.capture.gather.gather`; or a file cannot be written.
    """
    check_output_folder(out)
    scene = gather(inputs, units=units, views=views, time_step=time_step, outside=outside, strict=strict)
    facts = assess(scene)
    scene = weighed(scene, facts)

    def write(part: Path) -> None:
        save_capture_sheet(part / "capture.png", scene, facts)
        if export is not None:
            {"colmap": write_colmap, "nerfstudio": write_nerfstudio}[export](part, scene.views)

    write_together(out, write)
    if json is not None:
        text = json_format.dumps(report(scene, facts), indent=1, allow_nan=False) + "\n"
        write_atomically(json, lambda part: part.write_text(text, encoding="utf-8"))
    for own in facts:
        print(line(own))
    warn(facts)
    return facts


def report(scene: Scene, facts: Sequence[PhotoFacts]) -> dict[str, object]:
    """Return the facts as they are written to JSON: lengths in the units that their names end with, angles in degrees.

    A blur without any edge to measure is null.
    """
    photos = []
    for own in facts:
        entry = asdict(own)
        if own.face is not None and own.face.blur == float("inf"):
            entry["face"]["blur"] = None
        photos.append(entry)
    return {
        "posed": scene.posed,
        "photos": photos,
        "warnings": list(sentences(facts)),
        "alt": {"capture.png": alt_text(facts)},
    }
