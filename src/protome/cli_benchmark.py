"""The commands of `protome benchmark`; each imports its implementation when it runs, as in `protome.cli`."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import Positional, arg
from tyro.extras import SubcommandApp

from protome import cli_outputs
from protome.cli_options import (
    Address,
    Device,
    EngineName,
    Flag,
    Folder,
    Integer,
    MaybeFile,
    MaybeFolder,
    MaybeFolders,
    MaybeInteger,
    MaybeNames,
)
from protome.util.engines import engine_called
from protome.util.files import check_given_exist, check_inputs_stay, check_output_folder
from protome.util.locks import only_run

benchmark_app = SubcommandApp()

SCENES = "write scenes with benchmarks/scenes.py, or get H3DS"
"""What to do where scenes are missing."""


@benchmark_app.command
def speed(
    views: Integer = 3,
    preset: Literal["draft", "standard", "fine"] = "draft",
    device: Device = "auto",
    seed: Integer = 0,
    out: MaybeFile = None,
    against: MaybeFile = None,
    quiet: Flag = False,
) -> None:
    """Fit one head with each acceleration switched on and off, and print seconds, queries and errors.

    Args:
        views: How many photos: 1, 2 or 3.
        preset: How long each fit works.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The number of the random person whose head it is.
        out: A JSON file for the numbers; if left out, only the table is printed.
        against: The JSON file of an earlier run, on any machine, to compare with. Exit code 3: a number is worse.
        quiet: Show no progress; warnings and errors are still shown.
    """
    if against is not None and out is not None:
        check_inputs_stay([against], [out])
    from protome.benchmark.speed import report_speed

    report_speed(out=out, against=against, views=views, preset=preset, device=device, seed=seed, quiet=quiet)


@benchmark_app.command
def accuracy(
    scenes: Folder,
    out: Folder,
    quick: Flag = False,
    ours_only: Flag = False,
    views: Annotated[tuple[Integer, ...], arg(metavar="COUNT ...", help_behavior_hint="")] = (),
    preset: Literal["draft", "standard", "fine"] = "standard",
    meshes: Annotated[tuple[str, ...], arg(metavar="NAME=DIR ...", help_behavior_hint="")] = (),
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Reconstruct heads with known ground truth by every method, and write tables, a figure and a page.

    A stopped run continues.

    Args:
        scenes: A folder of scenes in H3DS's layout: H3DS itself, or what benchmarks/scenes.py writes.
        out: The folder for meshes, numbers, accuracy.png, subjects.jpg, benchmark.md and report.html.
        quick: Four subjects, 1, 3 and 8 views, and the other methods on two of the subjects.
        ours_only: Our method and the mean head only: no other methods, no camera noise, no ablation.
        views: How many photos to reconstruct from, in turn; if left out, 1, 3, 4, 6, 8, 16 and 32, or those of quick.
        preset: How long each fit works.
        meshes: Other methods' meshes to measure as well: folders of SUBJECT_VIEWS.ply in the scene's frame.
        jobs: How many processes of one thread to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_folder(out)
    cli_outputs.check_accuracy(scenes, meshes, out)
    check_given_exist([scenes], SCENES)
    from protome.benchmark.page import benchmark_accuracy

    with only_run(out):
        benchmark_accuracy(
            scenes,
            out,
            quick=quick,
            ours_only=ours_only,
            views=views,
            preset=preset,
            meshes=meshes,
            engine=used,
            quiet=quiet,
        )


@benchmark_app.command
def casual(
    captures: Folder,
    out: Folder,
    quick: Flag = False,
    placement: Flag = False,
    preset: Literal["draft", "standard", "fine"] = "standard",
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Reconstruct heads from photos as people take them, without cameras, and beside them with the true cameras.

    A stopped run continues.

    Args:
        captures: A folder of captures: what benchmarks/captures.py writes.
        out: The folder for meshes, numbers, casual.md, casual.json and report.html.
        quick: A fixed dozen captures with the preset draft.
        placement: Measure only cameras and who is recognised, without reconstructing heads.
        preset: How long each fit works.
        jobs: How many processes of one thread to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_folder(out)
    cli_outputs.check_casual(captures, out)
    check_given_exist([captures], "write captures with benchmarks/captures.py")
    from protome.benchmark.casual import benchmark_casual

    with only_run(out):
        benchmark_casual(captures, out, quick=quick, placement=placement, preset=preset, engine=used, quiet=quiet)


@benchmark_app.command
def identity(
    captures: Folder,
    out: Folder,
    people: Integer = 20,
    model: MaybeNames = None,
    preset: Literal["draft", "standard", "fine"] = "standard",
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Reconstruct one photo of each of some people and see whether each head is nearest to its own person's face.

    A stopped run continues.

    Args:
        captures: A folder of captures: what benchmarks/captures.py writes.
        out: The folder for meshes, numbers and identity.md.
        people: How many people to compare with each other.
        model: Further head models to fit to the landmarks of the photos: flame:FILE, ict:DIR or npz:FILE.
        preset: How long each fit works.
        jobs: How many processes of one thread to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_folder(out)
    cli_outputs.check_casual(captures, out)
    check_given_exist([captures], "write captures with benchmarks/captures.py")
    from protome.benchmark.identity import benchmark_identity

    with only_run(out):
        benchmark_identity(captures, out, people=people, models=model or (), preset=preset, engine=used, quiet=quiet)


@benchmark_app.command
def study(
    name: Positional[Annotated[str, arg(metavar="NAME", help_behavior_hint="(required)")]],
    scenes: Folder,
    out: Folder,
    subjects: MaybeNames = None,
    views: Annotated[tuple[Integer, ...], arg(metavar="COUNT ...", help_behavior_hint="")] = (),
    preset: Literal["draft", "standard", "fine"] = "standard",
    jobs: MaybeInteger = None,
    engine: EngineName = "local",
    address: Address = None,
    quiet: Flag = False,
) -> None:
    """Measure the effect of one factor on the error of reconstructed heads, print a table and write it.

    Studies: ablations, camera-noise, chance, methods, priors, size, steps, tracing and unposed. A stopped run
    continues. What another study or "protome benchmark accuracy" has measured in the same folder is not measured again.

    Args:
        name: The study.
        scenes: A folder of scenes in H3DS's layout: H3DS itself, or what benchmarks/scenes.py writes.
        out: The folder for meshes, numbers, NAME.md and NAME.json.
        subjects: The scenes to use, by name; if left out, all.
        views: How many photos to reconstruct from, in turn; if left out, the study's own.
        preset: How long each fit works.
        jobs: How many processes of one thread to use with the engine local; if left out, one for each processor core.
        engine: local uses processes of this machine, ray the machines of a Ray cluster, which all see the folders.
        address: The address of the cluster; if left out, Ray runs on this machine.
        quiet: Show no progress; warnings and errors are still shown.
    """
    used = engine_called(engine, address, jobs)
    check_output_folder(out)
    cli_outputs.check_accuracy(scenes, (), out)
    check_given_exist([scenes], SCENES)
    from protome.benchmark.studies import run_study

    with only_run(out):
        run_study(name, scenes, out, subjects=subjects, views=views, preset=preset, engine=used, quiet=quiet)


@benchmark_app.command
def texture(
    scenes: Folder,
    out: Folder,
    subjects: MaybeNames = None,
    views: Annotated[tuple[Integer, ...], arg(metavar="COUNT ...", help_behavior_hint="")] = (),
    photos: MaybeFolders = None,
    preset: Literal["draft", "standard", "fine"] = "standard",
    quiet: Flag = False,
) -> None:
    """Compare pictures of textured heads with the photos, given ones and ones held back, and print a table.

    The first line of each number of photos has the colours of the dense mesh's vertices, for comparison. A
    stopped run continues.

    Args:
        scenes: A folder of scenes in H3DS's layout: H3DS itself, or what benchmarks/scenes.py writes.
        out: The folder for texture.md, texture.jpg, report.html and the numbers of each head.
        subjects: The scenes to use, by name; if left out, all.
        views: How many photos to reconstruct from, in turn; if left out, 1, 3 and 8.
        photos: Folders of photos without cameras to compare heads with, too.
        preset: How long each fit works.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_texture(scenes, photos or (), out)
    check_given_exist([scenes, *(photos or ())], SCENES)
    from protome.benchmark.texture import benchmark_texture

    with only_run(out):
        benchmark_texture(scenes, out, subjects=subjects, views=views, photos=photos or (), preset=preset, quiet=quiet)


@benchmark_app.command
def detail(
    scenes: Folder,
    out: Folder,
    subjects: MaybeNames = None,
    views: Annotated[tuple[Integer, ...], arg(metavar="COUNT ...", help_behavior_hint="")] = (),
    preset: Literal["draft", "standard", "fine"] = "draft",
    quiet: Flag = False,
) -> None:
    """Give held-out heads wrinkles, reconstruct them, and compare their normals with and without the normal map.

    Streaks in the recovered height are measured too.

    Args:
        scenes: A folder of scenes in H3DS's layout: H3DS itself, or what benchmarks/scenes.py writes.
        out: The folder for detail.md and detail.json.
        subjects: The scenes to use, by name; if left out, all.
        views: How many photos to reconstruct from, in turn; if left out, 1 and 3.
        preset: How long each fit works.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_accuracy(scenes, (), out)
    check_given_exist([scenes], SCENES)
    from protome.benchmark.detail import benchmark_detail

    with only_run(out):
        benchmark_detail(scenes, out, subjects=subjects, views=views, preset=preset, quiet=quiet)


@benchmark_app.command
def perception(
    out: Folder,
    photos: MaybeFolder = None,
    wardrobe: MaybeFile = None,
    cases: MaybeFolder = None,
    weights: MaybeFile = None,
    scenes: Integer = 24,
    quiet: Flag = False,
) -> None:
    """Compare the perception network's landmarks and masks with MediaPipe's, and print a table.

    Args:
        out: The folder for perception.md, perception.json and sheets of the pictures.
        photos: A folder of photos, in which the two kinds of landmarks are compared.
        wardrobe: The file of "protome population wardrobe", from which pictures with neighbours are rendered.
        cases: A folder of pictures with their true masks beside them (NAME.mask.png).
        weights: The network's file; if left out, the one that ships with the package.
        scenes: The number of rendered pictures.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_perception((photos, wardrobe, cases, weights), out)
    from protome.benchmark.perception import benchmark_perception

    with only_run(out):
        benchmark_perception(
            out, photos=photos, wardrobe=wardrobe, cases=cases, weights=weights, scenes=scenes, quiet=quiet
        )


@benchmark_app.command
def topology(
    population: Folder,
    heads: Integer = 3,
    prior: MaybeFile = None,
    quiet: Flag = False,
) -> None:
    """Lay the template mesh onto held-out heads, compare corresponding points with the truth, and print a table.

    Args:
        population: The folder that "protome population build" wrote; its held-out heads are measured.
        heads: The number of heads of each kind.
        prior: The prior that is fitted to the heads; if left out, the one that ships with the package.
        quiet: Show no progress; warnings and errors are still shown.
    """
    from protome.benchmark.topology import benchmark_topology

    benchmark_topology(population, heads=heads, prior=prior, quiet=quiet)
