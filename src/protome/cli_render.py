"""The command `protome render`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from protome import cli_outputs
from protome.cli_options import File, Flag, Integer, MaybeInteger


def render(
    result: Positional[Annotated[Path, arg(metavar="RESULT", help_behavior_hint="(required)")]],
    turntable: File,
    views: MaybeInteger = None,
    size: Integer = 512,
    quiet: Flag = False,
) -> None:
    """Draw a reconstructed head from all around, from its textured mesh: a video of one turn, or a sheet.

    Args:
        result: The folder of a reconstruction, or a GLB file of one.
        turntable: The file to write: .mp4 or .gif for a video, .png for a sheet of pictures.
        views: How many pictures; if left out, 60 for a video and 8 for a sheet.
        size: Pixels along each side of a picture.
        quiet: Show no progress; warnings and errors are still shown.
    """
    cli_outputs.check_render(result, turntable)
    from protome.turntable import turntable as run

    run(result, turntable, views=views, size=size, quiet=quiet)
