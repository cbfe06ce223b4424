"""The surface of a field whose shape is final, extracted on another core while its colours are still fitted."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import SdfFn
from protome.geometry.mesh import Mesh
from protome.meshing.extract import extract_surface


class SurfaceBeside:
    """A surface that is extracted beside other work, once it is begun."""

    def __init__(self, resolution: int) -> None:
        """`resolution` as in `extract_surface`."""
        self._resolution = resolution
        self._found: Future[Mesh] | None = None

    def begin(self, sdf: SdfFn, bounds: Float[Tensor, "2 3"]) -> None:
        """Begin with a field, whose distances must not change any more, and return at once."""
        with_one = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self._found = with_one.submit(extract_surface, sdf, bounds, self._resolution)
        with_one.shutdown(wait=False)

    def surface(self) -> Mesh | None:
        """Wait for the surface and return it; None where it was not begun.

        Raises:
            ValueError: as `extract_surface`.
        """
        return None if self._found is None else self._found.result()
