"""The command `protome reconstruct`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import DisallowNone, Positional, arg

from protome import cli_outputs
from protome.asset.options import DETAILED, AssetOptions
from protome.capture import detection_process
from protome.cli_options import (
    Device,
    Flag,
    Folder,
    Integer,
    MaybeFile,
    MaybeInteger,
    MaybeNames,
    MaybeNumber,
    MaybeUnits,
)
from protome.cli_view import PORT as VIEW_PORT
from protome.cli_view import check_viser
from protome.errors import InputError
from protome.util.files import check_output_folder, check_photos_exist
from protome.util.locks import only_run


def reconstruct(
    inputs: Positional[Annotated[tuple[Path, ...], arg(metavar="INPUT ...", help_behavior_hint="(required)")]],
    out: Folder,
    preset: Literal["draft", "standard", "fine"] = "standard",
    device: Device = "auto",
    seed: Integer = 0,
    resolution: MaybeInteger = None,
    units: MaybeUnits = None,
    views: MaybeNames = None,
    time_step: MaybeInteger = None,
    outside: Flag = False,
    method: Annotated[str, arg(metavar="NAME")] = "protome",
    budget: Annotated[str | None, arg(metavar="N|Ns", help_behavior_hint=""), DisallowNone] = None,
    refine_cameras: Flag = True,
    pupils: MaybeNumber = None,
    distance: MaybeNumber = None,
    expression: Literal["as-photo", "neutral"] = "as-photo",
    prior: MaybeFile = None,
    encoder: MaybeFile = None,
    texture: Integer = 2048,
    faces: Annotated[str, arg(metavar="N|all")] = "60000",
    formats: Annotated[str, arg(metavar="NAME,...")] = "glb,ply",
    material: Literal["unlit", "pbr"] = "unlit",
    delight: Flag = False,
    detail: Flag = False,
    no_detail: Flag = False,
    topology: Literal["free", "template"] = "free",
    report: Flag = True,
    view: Flag = False,
    strict: Flag = False,
    quiet: Flag = False,
) -> None:
    """Turn photos or a video of one person into a full, coloured 3D head.

    Args:
        inputs: Photos, folders of photos or videos, of which up to 32 are used; or one folder with known cameras.
        out: The folder to write: head.glb, head.ply, report.html, preview.png, capture.png, result.json and others.
        preset: Speed or quality: draft is the fastest, fine takes the longest and recovers the most detail.
        device: Where to compute; auto takes the graphics card if there is one.
        seed: The random seed; the same seed gives the same head.
        resolution: Cells of the mesh along 60 cm; if left out, the preset's.
        units: The unit of length of a scene folder's cameras, which gives the head its true size; if left out, several
            views give it the mean face's, and a single view is in mm.
        views: The images of a scene folder to use, or the name of an H3DS view set; if left out, all, at most 32.
        time_step: The time step of a scene folder that has several (VHAP, NeuS2); by default that with most images.
        outside: Allow a scene folder whose files name, or link to, images and masks outside of it.
        method: The method: protome, or a baseline: sira++-paper, sira++, sira, deform, h3d-net-pm, h3d-net, idr.
        budget: Steps of the fit (300) or seconds (60s), instead of the preset's; with seconds, results vary.
        refine_cameras: Keep a scene folder's cameras fixed; by default protome refines those of two or more photos.
        pupils: The distance between the pupils in mm, if known; photos alone do not determine the metric scale.
        distance: The distance from the camera to the tip of the nose in mm, if known instead; for one photo.
        expression: Keep the photos' expression, or take it away.
        prior: A prior of your own, written by "protome train"; if left out, the one that ships with the package.
        encoder: The encoder that "protome train-encoder" made for it; without it, fits start from landmarks alone.
        texture: Pixels along each side of the texture: 1024, 2048 or 4096.
        faces: The most triangles of the textured mesh; all keeps every one. head.ply always has all.
        formats: The files of the head, separated by commas: glb, obj, ply, stl, usdz.
        material: unlit looks as in the photos everywhere; pbr is lit by the viewer, in addition to the photos' light.
        delight: Also write head_albedo.png, an estimate of the skin without the photos' light; pbr then shows it.
        detail: Recover fine detail from shading, as head_normal.png and head_displacement.png; fine always does.
        no_detail: Recover no fine detail, also with the preset fine.
        topology: template also writes the head with one fixed mesh of quads, and with ARKit's 52 expressions.
        report: Do not write report.html, the page that shows head, photos, sizes and how it was made.
        view: Show the head in the browser while it is fitted, at an address that is printed.
        strict: Stop at a photo without a face, with several, or of another head, instead of a warning.
        quiet: Show no progress; warnings and errors are still shown.
    """
    if detail and no_detail:
        raise InputError("--detail and --no-detail exclude each other: give one of them")
    fine = not no_detail and (detail or preset in DETAILED)
    asset = AssetOptions.parse(texture, faces, formats, material, delight, fine)
    if view:
        check_viser()
    if topology == "template" and "glb" not in asset.formats:
        raise InputError("--topology template takes its colours from head.glb: add glb to --formats")
    check_output_folder(out)
    check_photos_exist(inputs)
    own = [path for path in (prior, encoder) if path is not None]
    cli_outputs.check_reconstruct([*inputs, *own], out)
    detection_process.start_ahead()  # it loads while PyTorch does
    from protome.encoder.scale import MetricScale
    from protome.fit.options import FitOptions
    from protome.pipeline import reconstruct as run

    size = None if pupils is None and distance is None else MetricScale(pupils, distance)
    with only_run(out):
        watch = None
        if view:
            from protome.view.viewing import watching

            watch = watching(VIEW_PORT, prior)
        head = run(
            inputs,
            preset=preset,
            device=device,
            seed=seed,
            units=units,
            resolution=resolution,
            views=views,
            time_step=time_step,
            outside=outside,
            options=FitOptions(
                method, budget, None if refine_cameras else False, size, prior, encoder, expression, watch
            ),
            strict=strict,
            quiet=quiet,
        )
        head.save(out, command=("protome", *sys.argv[1:]), asset=asset, report=report)
        if topology == "template":
            from protome.topology.retopologize import retopologize

            retopologize(out, quiet=quiet)
