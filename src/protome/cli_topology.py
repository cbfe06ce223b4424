"""The commands around the template mesh, each of which imports what does the work when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from protome import cli_outputs
from protome.cli_options import File, Flag, Folder, Integer, MaybeFolder
from protome.util.files import check_output_file

Result = Positional[Annotated[Path, arg(metavar="RESULT", help_behavior_hint="(required)")]]


def retopologize(result: Result, out: MaybeFolder = None, quiet: Flag = False) -> None:
    """Give a reconstructed head the same mesh as every other head, with ARKit's 52 expressions.

    Writes head_template.glb, head_template.obj with its quads, and head_rigged.glb with the expressions as morph
    targets.

    Args:
        result: The folder of a reconstruction, with head.glb and field.safetensors.
        out: The folder to write; if left out, the result's own.
        quiet: Show no progress; warnings and errors are still shown.
    """
    cli_outputs.check_retopologize(result, out or result)
    from protome.topology.retopologize import retopologize as run

    run(result, out, quiet=quiet)


def animate(
    result: Result,
    weights: File,
    out: File,
    size: Integer = 512,
    turn: Annotated[float, arg(metavar="DEGREES")] = 0.0,
    quiet: Flag = False,
) -> None:
    """Play a track of ARKit's coefficients on a rigged head, as a video.

    Args:
        result: The folder of a result with head_rigged.glb, or such a file.
        weights: The track: a CSV file with Live Link Face's columns, or JSON with a list of frames.
        out: The file to write: .mp4 or .gif.
        size: Pixels along each side of a picture.
        turn: Azimuth of the camera; positive values show more of the head's left side.
        quiet: Show no progress; warnings and errors are still shown.
    """
    cli_outputs.check_animate(result, weights, out)
    from protome.topology.animate import animate as run

    run(result, weights, out, size=size, turn=turn, quiet=quiet)


def template(valid: Folder, ict: Folder, out: File) -> None:
    """Build the template mesh with its expressions, which "protome retopologize" lays onto heads.

    Args:
        valid: The folder of VALID's busts, as "protome population busts" cuts them.
        ict: The folder of the ICT face model.
        out: The file to write (.npz).
    """
    check_output_file(out)
    cli_outputs.check_model((valid, ict), out)
    from protome.population.template.build import write_template

    write_template(out, valid=valid, ict=ict)
