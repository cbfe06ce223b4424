"""Subjects of a batch: who is reconstructed from what, with which options."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from protome.batch.places import Place
from protome.errors import InputError

RESERVED = ("index.parquet", "index.html")
"""Names in the folder of results that no subject may have."""
LONGEST_NAME = 120


@dataclass(frozen=True)
class Subject:
    """One reconstruction of a batch."""

    name: str
    """Also the name of its folder."""
    inputs: tuple[str, ...]
    """Photos, folders or a scene: paths or addresses."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of `protome reconstruct` without their dashes, by name, with their values; "" for switches."""
    scan: str | None = None
    """A scan to measure the result against."""
    scan_landmarks: str | None = None

    @staticmethod
    def of(
        name: str,
        inputs: tuple[str, ...],
        options: dict[str, str] | None = None,
        scan: str | None = None,
        scan_landmarks: str | None = None,
    ) -> Subject:
        """Return a subject whose name and options are checked.

        Raises:
            InputError: the name cannot be that of a folder, there are no inputs, or an option is not known.
        """
        bad = not name or name.startswith(".") or len(name) > LONGEST_NAME or re.search(r"[/\\:*?\"<>|\x00-\x1f]", name)
        if bad or name in RESERVED:
            raise InputError(f"a subject cannot be called {name!r}, because its folder is: choose another id")
        if not inputs:
            raise InputError(f"the subject {name} has no photos and no scene: give at least one")
        return Subject(name, inputs, tuple(sorted(checked(options or {}).items())), scan, scan_landmarks)

    def words(self, inputs: list[str], out: str) -> list[str]:
        """Return the arguments of the command line that reconstruct this subject."""
        options = [word for key, value in self.options for word in (f"--{key}", *_values(key, value))]
        return ["reconstruct", *inputs, "--out", out, "--quiet", *options]

    def places(self) -> list[Place]:
        """Return where everything lies that is read."""
        models = [value for key, value in self.options if key in ("prior", "encoder")]
        return [Place(each) for each in (*self.inputs, self.scan, self.scan_landmarks, *models) if each is not None]

    def fingerprint(self) -> str:
        """Return a word that changes with options and inputs, by sizes and times of files: nothing is read.

        Raises:
            InputError: an input does not exist.
        """
        return _digest([self._settings(), *([place.address, *place.files()] for place in self.places())])

    def content_hash(self) -> str:
        """Return a word that changes with options and the contents of inputs, wherever they lie.

        Raises:
            InputError: an input does not exist or cannot be read.
        """
        found: list[object] = [self._settings()]
        for place in self.places():
            base = place if place.is_folder() else Place(place.address[: -len(place.name)].rstrip("/") or ".")
            found.append(
                [place.name, *([name, hashlib.sha256((base / name).read()).hexdigest()] for name, _ in place.files())]
            )
        return _digest(found)

    def _settings(self) -> list[object]:
        return [self.name, [list(each) for each in self.options], self.scan is not None]


def _values(key: str, value: str) -> list[str]:
    return value.split() if key == "views" else [value] if value else []


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


SWITCHES = frozenset(
    ("delight", "detail", "no-detail", "no-report", "strict", "no-refine-cameras", "outside")
)  # fmt: skip
"""Options of `protome reconstruct` without a value, but for --view, which shows one head alone."""
VALUES = frozenset((
    "preset", "device", "seed", "resolution", "units", "time-step", "method", "budget", "pupils", "distance", "texture",
    "faces", "formats", "material", "views", "expression", "prior", "encoder", "topology",
))  # fmt: skip
"""Those with one."""


def checked(options: dict[str, str]) -> dict[str, str]:
    """Return options with the names that the command line has; switches that are off are left out.

    Raises:
        InputError: `protome reconstruct` has no such option.
    """
    found: dict[str, str] = {}
    for key, value in options.items():
        name = key.strip().lstrip("-").replace("_", "-")
        if name in SWITCHES:
            if str(value).strip().lower() not in ("", "true", "1", "yes", "false", "0", "no", "none"):
                raise InputError(f"the option {name} is a switch and has no value {value!r}: give true or false")
            if str(value).strip().lower() not in ("false", "0", "no", "none"):
                found[name] = ""
        elif name in VALUES:
            if str(value).startswith("-") or str(value) == "":
                raise InputError(f"the option {name} cannot be {value!r}: give a value")
            found[name] = str(value)
        else:
            raise InputError(f"protome reconstruct has no option {name}: use {', '.join(sorted(VALUES | SWITCHES))}")
    return found
