"""The command `protome batch`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import DisallowNone, Positional, arg

from protome.cli_options import Address, EngineName, Flag, Integer, MaybeInteger


def batch(
    subjects: Positional[Annotated[str, arg(metavar="SUBJECTS", help_behavior_hint="(required)")]],
    out: Annotated[str, arg(metavar="DIR")],
    engine: EngineName = "local",
    address: Address = None,
    options: Annotated[str, arg(metavar="WORDS", help_behavior_hint="")] = "",
    jobs: MaybeInteger = None,
    cpus_per_subject: Integer = 1,
    gpus_per_subject: Annotated[float, arg(metavar="X")] = 0.0,
    memory: Annotated[float | None, arg(metavar="GB", help_behavior_hint=""), DisallowNone] = None,
    timeout: Annotated[float | None, arg(metavar="S", help_behavior_hint=""), DisallowNone] = None,
    retries: Integer = 2,
    limit: MaybeInteger = None,
    resume: Flag = True,
    quiet: Flag = False,
) -> None:
    """Reconstruct many subjects, each in a process of its own; continues a stopped run.

    A subject that fails is recorded, and the others go on. Exit code 3: some have failed.

    Args:
        subjects: A folder of subjects, a table (.csv, .jsonl, .parquet), a pattern such as "photos/*.jpg", or -.
        out: A folder, or an address such as s3://bucket/x, for a folder of each subject, index.parquet and index.html.
        engine: local uses processes of this machine, ray the machines of a Ray cluster.
        address: The address of the cluster; if left out, Ray runs on this machine.
        options: Options of "protome reconstruct" for all, in one pair of quotes: --options="--preset draft --detail".
        jobs: How many subjects at once with the engine local; if left out, as many as there are cores and cards for.
        cpus_per_subject: Threads of each subject's process.
        gpus_per_subject: Graphics cards of each subject's process; 0.5 lets two share one.
        memory: The most memory a subject may use, in GB; if left out, there is no limit.
        timeout: The most seconds a subject may take; if left out, there is no limit.
        retries: How often a subject is begun again after a crash, or when its machine is gone.
        limit: Work on this number of subjects at most, in this run.
        resume: Do all subjects again, also those that are done and have not changed.
        quiet: Show no progress; warnings and errors are still shown.
    """
    from protome.batch.batch import BatchOptions, run_batch
    from protome.batch.manifest import parse_options
    from protome.batch.process import Limits
    from protome.batch.subject import checked

    limits = Limits(cpus_per_subject, gpus_per_subject, memory, timeout, retries)
    given = BatchOptions(engine, address, checked(parse_options(options)), limits, jobs, limit, resume)
    run_batch(subjects, out, given, quiet=quiet)
