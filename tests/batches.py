"""A stand-in for the command that reconstructs, which does in a moment what a text file says."""

from __future__ import annotations

import sys
from pathlib import Path

from protome.batch.batch import BatchOptions
from protome.batch.process import Limits

STAND_IN = """
import json, os, signal, sys, threading, time
from pathlib import Path
from protome.util.content import content_facts
from protome.util.together import write_together

def end_with_parent():
    while os.read(0, 1):
        pass
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
words = sys.argv[1:]
if words[0] == "evaluate":
    rows = [{"name": f"{part}, truth to prediction", "mean": mean} for part, mean in (("face", 1.25), ("head", 4.5))]
    Path(words[words.index("--json") + 1]).write_text(json.dumps({"rows": rows}))
    sys.exit(0)
given, out = Path(words[1]), Path(words[words.index("--out") + 1])
said = given.read_text() if given.is_file() else (given / "photo.jpg").read_text()
with (Path(__file__).parent / "log.txt").open("a") as log:
    log.write(out.name + "\\n")
if "refuse" in said:
    sys.exit(print("error: no face found in it: give another photo", file=sys.stderr) or 2)
if "segfault" in said:
    os.kill(os.getpid(), signal.SIGSEGV)
if "bug" in said:
    raise RuntimeError("a bug")
if "once" in said and (Path(__file__).parent / "log.txt").read_text().split().count(out.name) == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if "hang" in said:
    time.sleep(600)
if "eat" in said:
    held = bytearray(b"x") * 300_000_000
    time.sleep(600)
if "slow" in said:
    time.sleep(float(said.split()[1]))
print("warning: a little dark", file=sys.stderr)

def write(part):
    from PIL import Image
    Image.new("RGB", (500, 200), (200, 30, 30)).save(part / "preview.png")
    (part / "head.ply").write_text(said + " " + " ".join(words[3:]))
    (part / "result.json").write_text(json.dumps({"landmarks": {"nose_tip": [0, 0, 0]}} | content_facts()))

write_together(out, write)
"""


def photos(folder: Path, **said: str) -> Path:
    """Write a folder of one photo for each subject, each of which says what is to happen to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in said.items():
        (folder / f"{name}.jpg").write_text(text)
    return folder


def stand_in(folder: Path) -> tuple[str, ...]:
    """Write the stand-in into a folder and return what runs it; it keeps a log of what it has begun there."""
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    return (sys.executable, str(script))


def begun(folder: Path) -> list[str]:
    """Return the names of the subjects that the stand-in has begun, in order, with repetitions."""
    log = folder / "log.txt"
    return log.read_text().split() if log.is_file() else []


def options(folder: Path, limits: Limits = Limits(retries=1), jobs: int = 2) -> BatchOptions:  # noqa: B008
    """Return options with the stand-in."""
    return BatchOptions(limits=limits, jobs=jobs, program=stand_in(folder))
