"""The command `protome inspect`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import DisallowNone, Positional, arg

from protome import cli_outputs
from protome.cli_options import Flag, Folder, MaybeFile, MaybeInteger, MaybeNames, MaybeUnits
from protome.util.files import check_output_file, check_output_folder, check_photos_exist


def inspect(
    inputs: Positional[Annotated[tuple[Path, ...], arg(metavar="INPUT ...", help_behavior_hint="(required)")]],
    out: Folder,
    units: MaybeUnits = None,
    views: MaybeNames = None,
    time_step: MaybeInteger = None,
    outside: Flag = False,
    strict: Flag = False,
    export: Annotated[Literal["colmap", "nerfstudio"] | None, arg(help_behavior_hint=""), DisallowNone] = None,
    json: MaybeFile = None,
) -> None:
    """Show what is found in photos, before the work: landmarks, outline, camera, weight and warnings, in seconds.

    Args:
        inputs: Photos, folders, videos, or one scene folder, as for "protome reconstruct".
        out: The folder to write capture.png to, and the scene where one is exported.
        units: The unit of length of a scene folder's cameras, as for "protome reconstruct".
        views: The images of a scene folder to use, as for "protome reconstruct".
        time_step: The time step of a scene folder, as for "protome reconstruct".
        outside: Allow images and masks outside of the scene folder, as for "protome reconstruct".
        strict: Stop at a photo with several faces, instead of taking the largest face with a warning.
        export: Also write images, masks and cameras, for other methods: a COLMAP model or transforms.json.
        json: A file for the facts and measurements of each photo.
    """
    check_output_folder(out)
    check_photos_exist(inputs)
    if json is not None:
        check_output_file(json)
    cli_outputs.check_inspect(inputs, out, export, json)
    from protome.inspection import inspect_photos

    inspect_photos(
        inputs, out, units=units, views=views, time_step=time_step, outside=outside, strict=strict, export=export,
        json=json,
    )  # fmt: skip
