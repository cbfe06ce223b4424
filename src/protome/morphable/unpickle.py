"""Safe reading of pickled arrays: only the classes of a short list are allowed."""

from __future__ import annotations

import copyreg
import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct, scalar
from scipy.sparse import csc_matrix

from protome.errors import InputError
from protome.util.reading import reason

MOST_DENSE = 1 << 27
"""Elements of a sparse matrix that is made dense; FLAME's has 25,115."""


class _Chumpy:
    """A substitute for an array of chumpy, a package that current Python versions cannot import."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Return the values: the array itself, or a selection of another one's."""
        if "x" in self.state:
            return np.asarray(plain(self.state["x"]))
        chosen = np.asarray(plain(self.state["a"])).ravel()[np.asarray(plain(self.state["idxs"]))]
        return chosen.reshape(self.state.get("preferred_shape", chosen.shape))


class _Sparse:
    """A substitute for a sparse matrix of any version of SciPy."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Return the dense matrix."""
        own = self.state
        shape = own["_shape"] if "_shape" in own else own["shape"]
        if math.prod(shape) > MOST_DENSE:
            raise pickle.UnpicklingError("a sparse matrix is too large")
        return csc_matrix((own["data"], own["indices"], own["indptr"]), shape=shape).toarray()


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


class _Array:
    """A substitute for the class of NumPy's arrays, which can be called with any size."""


def _empty(*_: Any) -> np.ndarray:
    """Return the array without elements that the pickle then fills: NumPy's own function makes one of any size."""
    return cast(np.ndarray, _reconstruct(np.ndarray, (0,), b"b"))


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    if math.prod(size) > storage.size():
        raise pickle.UnpicklingError("a tensor is larger than what it is stored in")
    flat = torch.tensor([], dtype=storage.dtype).set_(storage._untyped_storage)
    return torch.as_strided(flat, size, stride, offset).numpy().copy()


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): np.dtype,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _Chumpy,
    ("copy_reg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _HARMLESS |= {(_module, "_reconstruct"): _empty, (_module, "scalar"): scalar}
for _module in ("scipy.sparse.csc", "scipy.sparse._csc"):
    _HARMLESS[(_module, "csc_matrix")] = _Sparse


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it needs {module}.{name}")
        return _HARMLESS[module, name]


def read_pickle(path: Path, wanted: str) -> dict[str, Any]:
    """Return a pickled dictionary (or one that NumPy saved as `.npy`) of plain arrays.

    `wanted` is the description of the expected file in the message.

    Raises:
        InputError: the file is damaged, holds no dictionary, or needs other classes.
    """
    try:
        with io.BytesIO(path.read_bytes()) as file:
            if file.read(6) == b"\x93NUMPY":
                file.seek(0)
                version = np.lib.format.read_magic(file)
                reader = {1: np.lib.format.read_array_header_1_0}.get(version[0], np.lib.format.read_array_header_2_0)
                reader(file)
            else:
                file.seek(0)
            start = file.tell()
            for _ in pickletools.genops(file):
                pass  # which fails at a text that claims to be longer than the file, before memory for it is taken
            file.seek(start)
            # Python 2 wrote these files: its byte strings are text here.
            found = _Reader(file, encoding="latin1").load()
    except Exception as error:
        raise InputError(f"{path} cannot be read safely ({reason(error)}): give {wanted}") from error
    found = found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no dictionary of arrays: give {wanted}")
    return {str(key): plain(value) for key, value in found.items()}


def plain(value: Any) -> Any:
    """Return the array of a substitute."""
    return value.array() if isinstance(value, _Chumpy | _Sparse) else value
