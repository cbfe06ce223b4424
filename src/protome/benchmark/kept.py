"""Results of captures that are kept in files, so that a stopped benchmark continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

from protome.util.engines import Engine, Work
from protome.util.files import write_atomically
from protome.util.progress import progress

Result = TypeVar("Result")


def kept_results(
    kind: type[Result], label: str, measure: Callable[..., Result], todo: Sequence[tuple], out: Path, engine: Engine,
    quiet: bool,
) -> dict[str, Result]:  # fmt: skip
    """Return the results by the captures' names: stored ones, and the others as they are measured.

    `todo` are the arguments of `measure`, the capture first; `kind` is the dataclass that it returns, and `label` tells
    its files from those of other measurements of the same captures.
    """
    paths = {given[0].name: out / f"{given[0].name}_{label}.json" for given in todo}
    results: dict[str, Result] = {}
    for name, path in paths.items():
        if (stored := _stored(kind, path)) is not None:
            results[name] = stored
    left = [given for given in todo if given[0].name not in results]
    with progress(label.replace("_", " "), max(len(left), 1), quiet=quiet) as step:
        work: Work[tuple[Callable[..., Result], tuple], Result] = Work(_called)
        for number, found in engine.run(work, [(measure, given) for given in left]):
            name = left[number][0].name
            results[name] = found
            text = json.dumps(asdict(results[name]), indent=1) + "\n"  # type: ignore[call-overload]
            write_atomically(paths[name], lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            step(1, name)
    return {given[0].name: results[given[0].name] for given in todo}


def _called(job: tuple[Callable[..., Result], tuple]) -> Result:
    measure, given = job
    return measure(*given)


def _stored(kind: type[Result], path: Path) -> Result | None:
    """Return a stored result, if there is one with all of today's values."""
    row = json.loads(path.read_text()) if path.is_file() else {}
    keys = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if keys != row.keys():
        return None
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
