"""Resolutions are refused before the work where no memory is left for them."""

from __future__ import annotations

import pytest

from protome.errors import InputError
from protome.meshing import resolution
from protome.meshing.resolution import check_resolution, needed_memory_mb


@pytest.mark.parametrize("cells", [15, 1025, -3, 0])
def test_senseless_resolutions_are_refused(cells: int) -> None:
    with pytest.raises(InputError, match=rf"a resolution of {cells} makes no usable mesh: give 16 to 1024"):
        check_resolution(cells)


def test_a_resolution_needs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "available_memory_mb", lambda: 6000.0)
    check_resolution(443)
    with pytest.raises(
        InputError, match=r"1024 needs about 14\.4 GB of memory and 6\.0 are free: give at most 721"
    ) as error:
        check_resolution(1024)
    assert "\n" not in str(error.value)
    check_resolution(721)
    assert needed_memory_mb(721) < 6000 < needed_memory_mb(722)


def test_machines_that_do_not_say_what_they_have_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "available_memory_mb", lambda: None)
    check_resolution(1024)
    monkeypatch.setattr(resolution, "available_memory_mb", lambda: 100.0)
    check_resolution(300)
