"""Commands whose output is closed, whose disk is full, that have no home, or that are stopped, end in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protome.__main__ import main as program

COMMAND = [sys.executable, "-m", "protome"]
LIMITED = """
import resource, sys
import numpy as np
from pathlib import Path
from protome.errors import InputError
from protome.util.files import write_atomically, write_arrays
path, kind, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if kind == "safetensors":
    from safetensors.numpy import save_file
    write = lambda part: save_file({"a": np.ones(40_000)}, part)
elif kind == "npz":
    write = lambda part: np.savez(part, a=np.ones(40_000))
elif kind == "torch":
    import torch
    write = lambda part: torch.save({"a": torch.ones(40_000)}, part)
elif kind == "png":
    from PIL import Image
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    write = lambda part: Image.fromarray(noise).save(part, "PNG")
elif kind == "h5":
    import h5py
    def write(part):
        with h5py.File(part, "w") as file:
            file["a"] = np.ones(40_000)
elif kind == "text":
    write = lambda part: part.write_text("x" * 300_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_atomically(path, write)
except InputError as error:
    print(error)
    sys.exit(2)
"""


def run(
    arguments: list[str], environment: dict[str, str] | None = None, shell: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with redirections of a shell."""
    words = " ".join(f"'{word}'" for word in [*COMMAND, *arguments])
    return subprocess.run(
        ["bash", "-c", f"{words} {shell}"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_closed_pipe_ends_the_command_without_a_word() -> None:
    found = run(["reconstruct", "--help"], shell="| true; echo ${PIPESTATUS[0]}")
    assert (found.stdout, found.stderr) == ("141\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_that_cannot_be_written_is_one_sentence() -> None:
    found = run(["reconstruct", "--help"], shell="> /dev/full")
    assert found.returncode == 2
    assert found.stderr == ("error: cannot write the output (No space left on device): choose another place for it\n")


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(tmp_path: Path, shell: str) -> None:
    photo = tmp_path / "missing.jpg"
    found = run(["reconstruct", str(photo), "--out", str(tmp_path / "out")], shell=shell)
    assert found.returncode == 2
    assert found.stderr == ("" if "2>&-" in shell else f"error: {photo} does not exist: give the path of a photo\n")


def test_no_home_is_no_fault(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    assert run(["--help"], environment).returncode == 0
    assert run(["--help"], environment | {"HOME": str(tmp_path / "gone")}).returncode == 0


@pytest.mark.parametrize("kind", ["safetensors", "npz", "torch", "png", "h5", "text"])
def test_a_disk_that_fills_is_one_sentence_and_the_old_file_stays(tmp_path: Path, kind: str) -> None:
    # A limit on the size of files fails at the same places as a full disk does.
    path = tmp_path / f"file.{kind}"
    path.write_text("old")
    for limit in (0, 1, 5_000, 100_000) if kind in ("npz", "text") else (100_000,):
        found = subprocess.run(
            [sys.executable, "-c", LIMITED, path, kind, str(limit)], capture_output=True, text=True, check=False
        )
        assert found.returncode == 2, found.stderr
        assert found.stdout.startswith(f"cannot write {path} (")
        assert found.stdout.count("\n") == 1
        assert found.stderr == ""
        assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [(path.name, "old")]


def interruptible() -> None:
    """Let a child be interrupted also where the tests run in the background, where interruptions are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_stopped_command_says_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["prior", "sample", "--count", "500", "--resolution", "64", "--quiet", "--out", str(out)]
    child = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    )
    deadline = time.monotonic() + 60
    while not (out / ".protome.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    try:
        printed, said = child.communicate(timeout=60)
    finally:
        child.kill()
    # A shell calls both 130. Python ends itself by the signal where a library in C has seen the interruption first.
    assert child.returncode in (130, -signal.SIGINT)
    assert (printed, said) == ("", "stopped before the end\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list(out.iterdir()) == []


def test_a_command_stopped_while_it_loads_says_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "protome.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "protome.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stop(), *sys.meta_path])
    assert program() == 130
    assert capsys.readouterr().err == "stopped before the end\n"
