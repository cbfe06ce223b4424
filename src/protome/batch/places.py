"""Places of files: paths of this machine, and addresses of object stores, both through fsspec."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from protome.errors import InputError
from protome.util.files import write_atomically

WAITS_S = (1.0, 4.0, 15.0, 40.0)
"""Pauses between attempts at a store that does not answer: about a minute in all."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Place:
    """A file or folder, on this machine or in an object store."""

    address: str
    """As given: a path, or an address with a protocol such as s3://bucket/photos."""

    @property
    def remote(self) -> bool:
        """Whether it lies in an object store."""
        return "://" in self.address and not self.address.startswith("file://")

    @property
    def local(self) -> Path:
        """The path on this machine."""
        return Path(self.address.removeprefix("file://"))

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.address.rstrip("/")).name if self.remote else self.local.name

    def __truediv__(self, name: str) -> Place:
        if self.remote:
            return Place(f"{self.address.rstrip('/')}/{name}")
        return Place(str(self.local / name))

    def store(self) -> tuple[Any, str]:
        """Return the store's file system and the path in it.

        Raises:
            InputError: no such kind of store is known, or its library is missing.
        """
        from fsspec.core import url_to_fs  # here, because the command line's help does not need it

        try:
            return url_to_fs(self.address, use_listings_cache=False)  # type: ignore[no-any-return]
        except ImportError as error:
            raise InputError(f"{self.address} needs another library ({str(error).rstrip('.')})") from error
        except ValueError as error:
            raise InputError(f"{self.address} cannot be opened ({error}): give a path or an address") from error

    def is_folder(self) -> bool:
        """Return whether it is a folder."""
        store, path = self.store()
        return bool(patiently(lambda: store.isdir(path), self))

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""
        store, path = self.store()
        return bool(patiently(lambda: store.exists(path), self))

    def children(self) -> list[Place]:
        """Return what lies in a folder, by name."""
        store, path = self.store()
        names = {PurePosixPath(each.rstrip("/")).name for each in patiently(lambda: store.ls(path, detail=False), self)}
        return [self / name for name in sorted(names)]

    def matches(self) -> list[Place]:
        """Return the files and folders that a pattern such as `photos/*.jpg` names, by name."""
        store, path = self.store()
        found = sorted(patiently(lambda: store.glob(path), self))
        return [Place(store.unstrip_protocol(each) if self.remote else each) for each in found]

    def files(self) -> list[tuple[str, str]]:
        """Return the files at a place, each with a word that changes with its content, without reading them.

        A single file comes with those beside it that share its name up to the suffix, such as masks.
        """
        store, path = self.store()

        def found() -> list[tuple[str, str]]:
            if store.isdir(path):
                facts = store.find(path, detail=True)
                return sorted((name[len(path.rstrip("/")) + 1 :], _word(store, own)) for name, own in facts.items())
            folder, _, name = path.rpartition("/")
            stem = name.partition(".")[0]
            near = [own for own in store.ls(folder, detail=True) if own["type"] == "file"]
            names = [(PurePosixPath(own["name"]).name, own) for own in near]
            return sorted((each, _word(store, own)) for each, own in names if each.partition(".")[0] == stem)

        return patiently(found, self)

    def read(self) -> bytes:
        """Return the content of a file."""
        store, path = self.store()
        return bytes(patiently(lambda: store.cat_file(path), self))

    def write(self, content: bytes) -> None:
        """Write a file, all at once."""
        if not self.remote:
            write_atomically(self.local, lambda part: part.write_bytes(content))
            return
        store, path = self.store()

        def put() -> None:
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
            store.pipe_file(path, content)

        patiently(put, self)

    def fetch(self, folder: Path) -> Path:
        """Copy a file, with those beside it of the same name, or a whole folder, into `folder`; return its path there.

        Raises:
            InputError: a name in the store leads out of the folder; or the store does not answer.
        """
        store, path = self.store()
        whole = self.is_folder()
        target = folder / self.name if whole else folder
        for name, _ in self.files():
            own = target / name
            if not own.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{self.address} holds a file named {name}, which would be written outside its folder")
            own.parent.mkdir(parents=True, exist_ok=True)
            source = f"{path.rstrip('/')}/{name}" if whole else f"{path.rpartition('/')[0]}/{name}"
            patiently(lambda source=source, own=own: store.get_file(source, str(own)), self)  # type: ignore[misc]
        return folder / self.name

    def upload(self, folder: Path, last: str) -> None:
        """Copy the files of a folder here; the file `last`, which says that the others are complete, comes last.

        An earlier one is removed before: it would be taken for that of files that are being replaced.
        """
        store, path = self.store()
        if (self / last).exists():
            patiently(lambda: store.rm_file(f"{path.rstrip('/')}/{last}"), self)
        files = sorted((each for each in folder.rglob("*") if each.is_file()), key=lambda each: each.name == last)
        for each in files:
            target = f"{path.rstrip('/')}/{each.relative_to(folder).as_posix()}"
            patiently(lambda each=each, target=target: store.put_file(str(each), target), self)  # type: ignore[misc]


def _word(store: Any, facts: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash"):
        if facts.get(key):
            return str(facts[key])
    return f"{facts.get('size')} {facts.get('mtime') or facts.get('LastModified') or facts.get('created')}"


def patiently(work: Callable[[], Found], place: Place, waits_s: tuple[float, ...] | None = None) -> Found:
    """Return what `work` returns; a store that does not answer gets about a minute.

    Raises:
        InputError: the file is missing, may not be read, or the store did not answer.
    """
    for wait_s in (*((WAITS_S if waits_s is None else waits_s) if place.remote else ()), None):
        try:
            return work()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{place.address} does not exist") from error
        except PermissionError as error:
            raise InputError(f"{place.address} may not be read or written: check its permissions") from error
        except (OSError, TimeoutError) as error:
            if wait_s is None:
                raise InputError(f"{place.address} cannot be read or written ({error.strerror or error})") from error
            time.sleep(wait_s)
    raise AssertionError("unreachable")
