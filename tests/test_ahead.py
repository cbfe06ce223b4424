"""Modules imported ahead: loaded by the thread, silent when missing, and the one that optimisers need."""

from __future__ import annotations

import subprocess
import sys

from protome.util.ahead import OPTIMISERS, imported_ahead


def test_a_module_is_loaded_and_a_missing_one_is_no_error() -> None:
    sys.modules.pop("colorsys", None)
    imported_ahead("colorsys").join()
    assert "colorsys" in sys.modules
    imported_ahead("no_module_of_this_name").join()


def test_an_optimiser_loads_what_is_imported_ahead() -> None:
    code = (
        "import sys, torch\n"
        f"assert {OPTIMISERS!r} not in sys.modules\n"
        "torch.optim.Adam([torch.zeros(1, requires_grad=True)])\n"
        f"assert {OPTIMISERS!r} in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
