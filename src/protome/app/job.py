"""`Job`: one upload on its way from photos to a head."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, cast

from safetensors import safe_open

from protome.asset.options import AssetOptions
from protome.errors import InputError
from protome.util.files import write_atomically

Preset: TypeAlias = Literal["draft", "standard", "fine"]
Texture: TypeAlias = Literal[1024, 2048, 4096]
Expression: TypeAlias = Literal["as-photo", "neutral"]
State: TypeAlias = Literal["inspecting", "ready", "waiting", "running", "done", "failed", "cancelled"]
PRESETS: tuple[Preset, ...] = ("draft", "standard", "fine")
UNFINISHED: tuple[State, ...] = ("inspecting", "waiting", "running")
"""The states in which the app still has work to do."""
STARTABLE: tuple[State, ...] = ("ready", "failed", "cancelled")
"""The states from which a head can be started."""
RECORD = "job.json"
PUPILS_MM = (40.0, 85.0)
"""Distances between pupils that people have, small children included."""
MASK = ".mask.png"
"""How the name of a photo's mask ends."""


@lru_cache(maxsize=1)
def expressions() -> tuple[Expression, ...]:
    """Return which expressions a head can have: the photos' alone where the package's prior knows no others."""
    file = resources.files("protome") / "assets" / "prior.safetensors"
    with resources.as_file(file) as path, safe_open(path, "numpy") as opened:
        named = json.loads((opened.metadata() or {}).get("config", "{}")).get("expression")
    return ("as-photo", "neutral") if named else ("as-photo",)


@dataclass(frozen=True)
class JobOptions:
    """What is asked of a head, as the options of the same names of `protome reconstruct`."""

    preset: Preset = "standard"
    """Speed or quality."""
    texture: Texture = 2048
    """Pixels along each side of the texture."""
    formats: tuple[str, ...] = ("glb", "ply")
    """The files of the head: glb, obj, ply, stl, usdz."""
    pupils: float | None = None
    """The distance between the pupils in millimetres, if known."""
    expression: Expression = "as-photo"
    """The photos' expression, or none."""

    @staticmethod
    def parse(
        preset: str, texture: int, formats: str, pupils: float | None, expression: str = "as-photo"
    ) -> JobOptions:  # fmt: skip
        """Return the options from the fields of a form: formats separated by commas.

        Raises:
            InputError: one of them has no such value.
        """
        if preset not in PRESETS:
            raise InputError(f"no preset is called {preset}: use one of {', '.join(PRESETS)}")
        asset = AssetOptions.parse(texture, "all", formats, "unlit", False, False)
        own = JobOptions(preset, cast(Texture, texture), asset.formats, pupils, cast(Expression, expression))
        return own.checked()

    def checked(self) -> JobOptions:
        """Return the options as they are, if each has a value that is offered.

        Raises:
            InputError: one has not.
        """
        AssetOptions(texture=self.texture, formats=self.formats)
        if self.pupils is not None and not PUPILS_MM[0] <= self.pupils <= PUPILS_MM[1]:
            low, high = PUPILS_MM
            raise InputError(f"pupils {self.pupils:g} mm apart are no person's: give {low:g} to {high:g}, or nothing")
        if self.expression not in expressions():
            raise InputError(f"no head can have the expression {self.expression}: use {' or '.join(expressions())}")
        return self

    def words(self) -> list[str]:
        """Return the options as words of the command line."""
        formats = ",".join(self.formats)
        words = ["--preset", self.preset, "--texture", str(self.texture), "--formats", formats]
        words += [] if self.pupils is None else ["--pupils", f"{self.pupils:g}"]
        return words if self.expression == "as-photo" else [*words, "--expression", self.expression]


@dataclass(frozen=True)
class Given:
    """One file of an upload."""

    name: str
    """What the user calls it; shown only, and never part of a path."""
    stored: str
    """What it is called in the job's folder of inputs."""
    size: int
    """Bytes."""

    @property
    def is_mask(self) -> bool:
        """Whether it is the mask of a photo, beside which it lies."""
        return self.stored.endswith(MASK)


@dataclass(frozen=True)
class Job:
    """One upload, its options, and what has become of it. Times are in seconds since 1970."""

    id: str
    given: tuple[Given, ...]
    created: float
    state: State = "inspecting"
    options: JobOptions = JobOptions()
    at_once: bool = False
    """Whether the head is started without a question when the inspection is done."""
    started: float | None = None
    finished: float | None = None
    warnings: tuple[str, ...] = ()
    """Sentences about the photos and the work."""
    error: str | None = None
    """Why the job failed, in a sentence."""
    inspected: bool = False
    """Whether the photos can be used."""

    def save(self, folder: Path) -> None:
        """Write the record into the job's folder.

        Raises:
            InputError: the file system refuses.
        """
        text = json.dumps(asdict(self), indent=1) + "\n"
        write_atomically(folder / RECORD, lambda part: part.write_text(text, encoding="utf-8"))

    @staticmethod
    def load(folder: Path) -> Job | None:
        """Return the job of a folder; None where there is no readable record in it."""
        try:
            own = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            own["given"] = tuple(Given(**one) for one in own["given"])
            own["options"] = JobOptions(**own["options"] | {"formats": tuple(own["options"]["formats"])})
            own["warnings"] = tuple(own["warnings"])
            job = Job(**own)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return job if job.id == folder.name else None

    def in_users_words(self, sentence: str) -> str:
        """Return a sentence of the program with the user's names of files in place of the stored ones."""
        for one in self.given:
            sentence = sentence.replace(one.stored, one.name)
        return sentence
