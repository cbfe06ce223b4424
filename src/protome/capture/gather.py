"""The scene of what a user gives: photos and videos, or one folder of photos with cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protome.capture.capture import capture_photos
from protome.capture.head import UNIT_IN_MM, Units
from protome.capture.posed import locate_head
from protome.errors import InputError
from protome.scene import Scene
from protome.scenes.scene_folder import is_scene, read_scene


def gather(
    inputs: Sequence[str | Path],
    *,
    units: Units | None = None,
    views: Sequence[str] | None = None,
    time_step: int | None = None,
    outside: bool = False,
    strict: bool = False,
) -> Scene:
    """Return the scene of photos and videos, or of one posed scene folder, with the head located in it.

    Arguments as in `protome.pipeline.reconstruct`.

    Raises:
        InputError: an input is missing or unusable, or an option has no such value.
    """
    if units is not None and units not in UNIT_IN_MM:
        raise InputError(f"{units} is no unit of length here: use one of {', '.join(UNIT_IN_MM)}")
    paths = [Path(item) for item in inputs]
    if not paths:
        raise InputError("no inputs were given: give photos, a folder of photos, a video, or one scene folder")
    scenes = [path for path in paths if is_scene(path)]
    if scenes and len(paths) > 1:
        raise InputError(f"{scenes[0]} is a scene folder with cameras of its own: give it alone, or only photos")
    if views is not None and not scenes:
        raise InputError("views were named but no scene folder was given: give only the photos to use")
    if time_step is not None and not scenes:
        raise InputError("a time step was chosen but no scene folder was given: leave the option out")
    if not scenes:
        return capture_photos(paths, strict=strict)
    posed = read_scene(paths[0], views, time_step, outside)
    # Several views determine the head's size in the scene's unit; a single view does not.
    return locate_head(posed, units or ("mm" if len(posed) == 1 else None))
