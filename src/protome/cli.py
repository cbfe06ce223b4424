"""The command line: typed functions that hand their arguments on, and errors said in one sentence."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal, TextIO

from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from protome.errors import InputError, ProtomeWarning
from protome.files import check_output_file, check_output_folder

# The modules that do the work import torch, which takes seconds: each command imports its own when it runs,
# so that help and usage errors come at once.

Device = Literal["auto", "cpu", "cuda"]
File = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path, arg(metavar="DIR")]
Integer = Annotated[int, arg(metavar="N")]
# Where nothing is the default, the sentence of the option says what that means.
Flag = Annotated[bool, arg(help_behavior_hint="")]
MaybeFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=""), DisallowNone]
MaybeUnits = Annotated[Literal["mm", "cm", "m"] | None, arg(help_behavior_hint=""), DisallowNone]
MaybeInteger = Annotated[int | None, arg(metavar="N", help_behavior_hint=""), DisallowNone]

app = SubcommandApp()


@app.command
def reconstruct(
    inputs: Positional[Annotated[tuple[Path, ...], arg(metavar="INPUT ...", help_behavior_hint="(required)")]],
    out: Folder,
    preset: Literal["draft", "standard", "fine"] = "standard",
    device: Device = "auto",
    seed: Integer = 0,
    resolution: MaybeInteger = None,
    units: MaybeUnits = None,
    strict: Flag = False,
    quiet: Flag = False,
) -> None:
    """Turn 1 to 32 photos of one person into a full, coloured 3D head.

    Args:
        inputs: The photos, or one folder that holds a scene: image/, mask/ and cameras.npz.
        out: The folder to write: head.ply, head.glb, preview.png, field.safetensors and result.json.
        preset: How long to work: draft is a quick look, fine takes the longest and keeps the most detail.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The number that every random choice follows from; the same seed gives the same head.
        resolution: Cells of the mesh along 52 cm; if left out, the preset's.
        units: The unit of length of a scene folder's cameras; if left out, mm where one view alone needs one.
        strict: Stop at a photo with several faces, instead of taking the largest face with a warning.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    from protome.pipeline import reconstruct as run

    head = run(
        inputs,
        preset=preset,
        device=device,
        seed=seed,
        units=units,
        resolution=resolution,
        strict=strict,
        quiet=quiet,
    )
    head.save(out, command=("protome", *sys.argv[1:]))


@app.command
def train(
    population: File,
    out: File,
    config: Annotated[str, arg(metavar="NAME")] = "compact",
    steps: MaybeInteger = None,
    device: Device = "auto",
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Train the prior: what heads look like in general. A stopped run goes on where it was.

    Args:
        population: The file that "protome population build" wrote.
        out: The file to write the prior to (.safetensors).
        config: The name of the training configuration: compact, or tiny for a trial.
        steps: How many steps to train; if left out, as many as the configuration says.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The number that every random choice follows from.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_file(out)
    from protome.training import train as run

    run(population, out, config=config, steps=steps, device=device, seed=seed, quiet=quiet)


population_app = SubcommandApp()
app.command(population_app, name="population", help="Make the heads that a prior is trained on.")


@population_app.command
def build(
    valid: Folder,
    out: File,
    ict: MaybeFolder = None,
    mediapipe: MaybeFolder = None,
    count: Integer = 300,
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Compose training heads from openly licensed models and sample them.

    Args:
        valid: The folder of the VALID avatar heads.
        out: The file to write the sampled heads to (.h5).
        ict: The folder of the ICT face model, which makes the faces more diverse; if left out, VALID alone.
        mediapipe: The folder of MediaPipe's face mesh and landmark tables, which --ict needs.
        count: How many heads: the avatars first, then blends of them.
        seed: The number that every random choice follows from; the same seed gives the same heads.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_file(out)
    from protome.population.build import build_population

    build_population(valid, out, ict=ict, mediapipe=mediapipe, count=count, seed=seed, quiet=quiet)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, ProtomeWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="")


def main() -> int:
    """Run the command line in `sys.argv` and return its exit code: 0 done, 2 bad input, 130 stopped by the user.

    Usage errors leave through `SystemExit` with code 2, help with code 0.
    """
    with warnings.catch_warnings():
        if not sys.warnoptions:  # the warnings of libraries are for developers, who ask for them with -W
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ProtomeWarning)
        warnings.showwarning = _show_warning
        try:
            app.cli(
                prog="protome",
                description="Full, coloured 3D heads in millimetres from one to thirty-two photos.",
                config=(FlagCreatePairsOff,),
            )
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped before the end", file=sys.stderr)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
