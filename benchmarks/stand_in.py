"""Stands in for the commands that the app runs, where the app itself is tested: `stand_in.py RESULT COMMAND ...`.

What it does follows from the content of the photos: "bad" is refused, "slow" takes a minute, "crash" ends the process
from outside, "warn" warns, "odd" ends with an unusual code; anything else is copied from the folder RESULT. It imports
nothing of the package, so that many can run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def say(stage: str, share: float, left: float | None) -> None:
    """Report progress as the package does."""
    facts = {"stage": stage, "share": share, "elapsed_s": 1.0, "left_s": left, "detail": "colour 0.1"}
    print(json.dumps(facts), file=sys.stderr, flush=True)


def print_sentence(level: str, sentence: str) -> None:
    """Print a warning or an error as the package does (`protome.util.messages`)."""
    print(json.dumps({"level": level, "message": sentence}), file=sys.stderr, flush=True)


def main() -> int:
    """Do what the photos say."""
    result, command, *words = sys.argv[1:]
    photos = [Path(word) for word in words[: words.index("--out")]]
    out = Path(words[words.index("--out") + 1])
    assert os.environ["PROTOME_PROGRESS"] == "json"
    what = [photo.read_bytes() for photo in photos]
    assert all(what)
    if b"bad" in what:
        print_sentence("error", f"{photos[what.index(b'bad')]} cannot be read as an image: give a JPEG")
        return 2
    say("capture", 0.0, None)
    if b"warn" in what:
        print_sentence("warning", f"the face is blurred in {photos[what.index(b'warn')].name}")
    if command == "inspect":
        out.mkdir(exist_ok=True)
        shutil.copy(Path(result) / "capture.png", out / "capture.png")
        return 0
    (out.parent / "command.json").write_text(json.dumps(words))
    if b"crash" in what:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"odd" in what:
        print("something strange", file=sys.stderr)
        return 7
    if b"slow" in what:
        say("fitting", 0.5, 30.0)
        time.sleep(60)
    say("fitting", 1.0, 0.0)
    shutil.copytree(result, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
