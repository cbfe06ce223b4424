"""Types of the command line's options and their values in the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import DisallowNone, arg

Device = Literal["auto", "cpu", "cuda"]
File = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path, arg(metavar="DIR")]
Integer = Annotated[int, arg(metavar="N")]
# Without a default value, the option's help text says what happens if it is left out.
Flag = Annotated[bool, arg(help_behavior_hint="")]
Number = Annotated[float, arg(metavar="X")]
MaybeFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint=""), DisallowNone]
MaybeFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=""), DisallowNone]
MaybeFolders = Annotated[tuple[Path, ...] | None, arg(metavar="DIR ...", help_behavior_hint=""), DisallowNone]
MaybeUnits = Annotated[Literal["mm", "cm", "m"] | None, arg(help_behavior_hint=""), DisallowNone]
MaybeNames = Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint=""), DisallowNone]
MaybeNumber = Annotated[float | None, arg(metavar="MM", help_behavior_hint=""), DisallowNone]
MaybeInteger = Annotated[int | None, arg(metavar="N", help_behavior_hint=""), DisallowNone]
EngineName = Literal["local", "ray"]
Address = Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint=""), DisallowNone]
