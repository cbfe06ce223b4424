"""The command line: typed functions that pass their arguments on, and errors in one sentence."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from protome import cli_outputs
from protome.cli_app import app as serve_app
from protome.cli_batch import batch
from protome.cli_benchmark import benchmark_app
from protome.cli_inspect import inspect
from protome.cli_options import (
    Address,
    Device,
    EngineName,
    File,
    Flag,
    Folder,
    Integer,
    MaybeFile,
    MaybeFolder,
    MaybeInteger,
    MaybeUnits,
    Number,
)
from protome.cli_perception import train_perception
from protome.cli_population import population_app
from protome.cli_reconstruct import reconstruct
from protome.cli_render import render
from protome.cli_topology import animate, retopologize
from protome.cli_view import view
from protome.errors import IncompleteError, InputError, ProtomeWarning
from protome.util.engines import engine_called
from protome.util.files import check_given_exist, check_output_file, check_output_folder, check_photos_exist
from protome.util.libraries import what_to_install
from protome.util.locks import only_run
from protome.util.messages import ended, show_warning, with_log_format
from protome.util.streams import is_memory, with_streams
from protome.util.waiting import wait_briefly

# The implementing modules import torch, which takes seconds: each command imports its own when it runs, so that help
# and usage errors appear at once.

DESCRIPTION = (
    "Full, coloured 3D heads in millimetres from one to thirty-two photos. With --log-format json, anywhere, progress, "
    "warnings and errors are lines of JSON. --version prints the version."
)

app = SubcommandApp()
app.command(reconstruct)


@app.command
def detail(
    photo: Positional[Annotated[Path, arg(metavar="PHOTO", help_behavior_hint="(required)")]],
    out: Folder,
    model: Annotated[str, arg(metavar="NAME")] = "built-in",
    preset: Literal["relief", "sider", "without-feature", "without-normal", "without-both"] = "relief",
    device: Device = "auto",
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Recover the wrinkles and folds of the face in one photo, as a mesh and as maps for a head model.

    Args:
        photo: The photo; the face in frontal view or nearly so.
        out: The folder to write: detail.ply, detail.glb, displacement.png, normal.png, sheet.png and result.json.
        model: The head model that gives the coarse face: built-in, or your own as flame:FILE, ict:DIR or npz:FILE.
        preset: relief, a height on the photo's pixels; sider, the paper's networks; or an ablation of those.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The random seed; the same seed gives the same face.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    check_photos_exist([photo])
    cli_outputs.check_detail(photo, model, out)
    from protome.sider.outputs import save_detail
    from protome.sider.pipeline import recover_detail

    with only_run(out):
        face = recover_detail(photo, model=model, preset=preset, device=device, seed=seed, quiet=quiet)
        save_detail(face, out, command=("protome", *sys.argv[1:]))


@app.command
def train(
    population: Folder,
    out: File,
    config: Annotated[str, arg(metavar="NAME")] = "sira++",
    steps: MaybeInteger = None,
    start: MaybeFile = None,
    unfinished: Flag = False,
    device: Device = "auto",
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Train the prior, the model of shape and appearance of heads; continues a stopped run.

    Args:
        population: The folder that "protome population build" wrote.
        out: The file to write the prior to (.safetensors).
        config: What to train: sira++, an ablation of it (h3d-net, h3d-net-pm or deform), or expressive for a population
            with expressions; tiny and tiny-expressive are for trials.
        steps: The number of training steps; if left out, the configuration's.
        start: A prior whose networks the training of expressive starts from.
        unfinished: Start expressive before the population is complete, and take in heads as they are added.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The random seed.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_file(out)
    cli_outputs.check_train(population, out, start)
    check_given_exist([population], "build it with `protome population build`")
    from protome.training.train import train as run

    with only_run(out):
        run(
            population,
            out,
            config=config,
            steps=steps,
            start=start,
            unfinished=unfinished,
            device=device,
            seed=seed,
            quiet=quiet,
        )


@app.command(name="train-encoder")
def train_encoder(
    population: Folder,
    latents: File,
    valid: Folder,
    out: File,
    ict: MaybeFolder = None,
    makehuman: MaybeFolder = None,
    targets: MaybeFolder = None,
    prior: MaybeFile = None,
    photos: MaybeFolder = None,
    each: Integer = 6,
    people: MaybeInteger = None,
    heads: MaybeInteger = None,
    seed: Integer = 0,
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Train the encoder, which predicts a head's latents from one photo; continues a stopped run.

    The heads of the population are rendered first. At the end it prints the explained variance on held-out people.

    Args:
        population: The folder that "protome population build" wrote and the prior was trained on.
        latents: The heads' latents, which "protome train" leaves beside the prior (.latents.safetensors).
        valid: The folder of VALID's busts that the population was built from.
        out: The file to write the encoder to (.safetensors).
        ict: The folder of the ICT face model, if the population was built with it.
        makehuman: The folder of MakeHuman's assets, if the population was built with it.
        targets: The folder of MakeHuman's morph targets, if the population was built with it.
        prior: The prior that the latents belong to; if left out, the one that ships with the package.
        photos: The folder to keep the photos in; if left out, beside the encoder's file.
        each: The number of photos of each head.
        people: The most people to photograph; if left out, the whole population.
        heads: The number of heads of each person to photograph, those in the folder counted; if left out, all.
        seed: The random seed; 0 is that of the encoder that ships.
        jobs: How many processes to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_file(out)
    cli_outputs.check_model((population, latents, valid, ict, makehuman, targets, prior), out)
    if photos is not None:
        cli_outputs.check_build((population, valid, ict, makehuman, targets), photos)
    check_given_exist([population], "build it with `protome population build`")
    from protome.training.encoder import train_encoder as run

    with only_run(out):
        run(
            population,
            out,
            latents=latents,
            valid=valid,
            ict=ict,
            makehuman=makehuman,
            targets=targets,
            prior=prior,
            photos=photos,
            each=each,
            most=people,
            heads=heads,
            seed=seed,
            engine=used,
            quiet=quiet,
        )


app.command(name="train-perception")(train_perception)

app.command(population_app, name="population", help="Make the heads and pictures that models are trained on.")

prior_app = SubcommandApp()
app.command(prior_app, name="prior", help="Draw heads from a prior: random people, and morphs between two heads.")


@prior_app.command
def sample(
    out: Folder,
    count: Integer = 1,
    seed: Integer = 0,
    temperature: Number = 1.0,
    prior: MaybeFile = None,
    resolution: Integer = 200,
    quiet: Flag = False,
) -> None:
    """Draw random people from the prior: head_000.glb, head_000.ply and so on, and sheet.png with all of them.

    Args:
        out: The folder to write.
        count: The number of people.
        seed: The number of the first person; the others follow. The same number gives the same person.
        temperature: Scale of the deviation from the mean head: 0 is the mean head, 1 that of the training heads.
        prior: The prior to draw from; if left out, the one that ships with the package.
        resolution: Cells of the meshes along 52 cm.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_sample(prior, range(seed, seed + count), out)
    from protome.gallery import sample_heads

    with only_run(out):
        sample_heads(
            out, count=count, seed=seed, temperature=temperature, prior=prior, resolution=resolution, quiet=quiet
        )


@prior_app.command
def morph(
    first: Positional[Annotated[str, arg(metavar="A", help_behavior_hint="(required)")]],
    second: Positional[Annotated[str, arg(metavar="B", help_behavior_hint="(required)")]],
    out: Annotated[Path, arg(metavar="FILE|DIR")],
    shape: Number = 0.5,
    appearance: Number = 0.5,
    steps: MaybeInteger = None,
    prior: MaybeFile = None,
    resolution: Integer = 200,
    quiet: Flag = False,
) -> None:
    """Interpolate between two heads, in shape and in appearance by separate fractions.

    Args:
        first: The head at fraction 0: a folder from reconstruct, a photo, a random person's number, or the word mean.
        second: The head at fraction 1, given in the same ways; photos are reconstructed first, with preset draft.
        out: A mesh file (.glb, .ply or .obj), or a folder for meshes, field.safetensors and sheet.png.
        shape: Fraction of the way in shape; a little below 0 or above 1 exaggerates.
        appearance: Fraction of the way in appearance, likewise.
        steps: Write this number of heads from A to the fractions, not only the last; needs a folder.
        prior: The prior of the two heads; if left out, the one that ships with the package.
        resolution: Cells of the meshes along 52 cm, or along 60 cm of fitted heads.
        quiet: Show no progress; warnings and errors are still shown.
    """
    cli_outputs.check_morph((first, second), prior, steps, out)
    from protome.gallery import morph_heads

    morph_heads(
        first,
        second,
        out,
        shape=shape,
        appearance=appearance,
        steps=steps,
        prior=prior,
        resolution=resolution,
        quiet=quiet,
    )


@app.command
def evaluate(
    prediction: Positional[Annotated[Path, arg(metavar="PRED", help_behavior_hint="(required)")]],
    truth: Positional[Annotated[Path, arg(metavar="GT", help_behavior_hint="(required)")]],
    protocol: Literal["surface", "h3ds", "now"] = "surface",
    landmarks: MaybeFile = None,
    pred_landmarks: MaybeFile = None,
    units: MaybeUnits = None,
    dof: Annotated[Literal["rigid", "similarity"] | None, arg(help_behavior_hint=""), DisallowNone] = None,
    radius: Annotated[float | None, arg(metavar="MM", help_behavior_hint=""), DisallowNone] = None,
    json: MaybeFile = None,
    heatmap: MaybeFile = None,
    curve: MaybeFile = None,
    report: MaybeFile = None,
    quiet: Flag = False,
) -> None:
    """Measure the distances between a predicted head and a scan, and print them.

    Args:
        prediction: The predicted mesh; for now also a folder of predictions in NoW's layout.
        truth: The scan; for surface and h3ds also a folder of H3DS, for now also the folder of the NoW data.
        protocol: The protocol: surface (rigid alignment, point-to-surface distance), or that of h3ds or now.
        landmarks: The scan's landmarks, by name (.txt, .json, .pp or .npy); if left out, those in its folder.
        pred_landmarks: The prediction's landmarks; if left out, surface and h3ds assume it near the scan.
        units: The prediction's unit of length; if left out, m for a GLB and mm for other files.
        dof: Degrees of freedom of the alignment; if left out, rigid for surface and similarity for now.
        radius: Of the face around the tip of the nose (surface; if left out, 95) or around its middle (now).
        json: A file for the numbers; if left out, only the table is printed.
        heatmap: A file for the distances as colours on the scan: a mesh (.ply) or a picture (.png).
        curve: A picture (.png) of the cumulative distance curve of now.
        report: A page (.html) with the scan to turn, coloured by the distances, and all numbers.
        quiet: Show no progress; warnings and errors are still shown.
    """
    cli_outputs.check_evaluate((prediction, truth, landmarks, pred_landmarks), (json, heatmap, curve, report))
    from protome.evaluate.report import report_evaluation

    report_evaluation(
        prediction,
        truth,
        protocol=protocol,
        landmarks=landmarks,
        pred_landmarks=pred_landmarks,
        units=units,
        dof=dof,
        radius=radius,
        out=json,
        heatmap=heatmap,
        curve=curve,
        report=report,
        quiet=quiet,
    )


app.command(inspect)
app.command(render)
app.command(batch)
app.command(view)
app.command(name="app")(serve_app)
app.command(retopologize)
app.command(animate)
app.command(benchmark_app, name="benchmark", help="Measure this package on this machine.")


def main() -> int:
    """Run the command line in `sys.argv` and return its exit code.

    0: done. 2: bad input, a library that cannot be loaded, or no memory or disk space left. 3: subjects of a batch
    failed. 130: stopped by the user. 141: the reader of the output has ended. Usage errors leave through `SystemExit`
    with code 2, help with code 0.
    """
    return with_streams(_run)


def _run() -> int:
    wait_briefly()
    with warnings.catch_warnings():
        if not sys.warnoptions:  # warnings of libraries are for developers, who enable them with -W
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ProtomeWarning)
        warnings.showwarning = show_warning
        try:
            sys.argv[1:] = with_log_format(sys.argv[1:])
            if sys.argv[1:] == ["--version"]:
                print(f"protome {sys.modules['protome'].__version__}")
                return 0
            app.cli(prog="protome", description=DESCRIPTION, config=(FlagCreatePairsOff,))
        except InputError as error:
            return ended("error", str(error), 2)
        except IncompleteError as error:
            return ended("error", str(error), 3)
        except ImportError as error:
            sentence = what_to_install(error)
            if sentence is None:
                raise
            return ended("error", sentence, 2)
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            return ended("error", "there is not enough memory: give fewer or smaller photos, or a coarser mesh", 2)
        except KeyboardInterrupt:
            return ended("stopped", "stopped before the end", 130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
