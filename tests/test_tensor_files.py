"""Tensors with texts about them: the same content is the same file, in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from protome.util.tensor_files import save_tensors

SCRIPT = """
import sys, torch
from pathlib import Path
from protome.util.tensor_files import save_tensors
save_tensors({"b": torch.arange(3.0), "a": torch.zeros(2, 2)}, Path(sys.argv[1]), {k: k * 3 for k in "qwertzuiop"})
"""


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / name)], check=True)
    # Ten texts in an order of chance are alike once in three million times.
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_content_and_texts_are_kept(tmp_path: Path) -> None:
    about = {"z": 'quotes " and \\ and\nlines', "a": "ä µ 头", "m": ""}
    tensors = {"x": torch.randn(5, 3), "ä": torch.arange(4)}
    save_tensors(tensors, tmp_path / "file", about)
    with safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == about
        assert {*file.keys()} == {"x", "ä"}
        for name, values in tensors.items():
            assert torch.equal(file.get_tensor(name), values)
