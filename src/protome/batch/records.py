"""What is known of each subject of a batch: one small file each, and one table of all."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from protome.batch.places import Place
from protome.errors import InputError
from protome.util.locks import lock_file

KEPT = ".batch"
"""The folder, in the folder of results, of what belongs to the batch and to no subject."""
INDEX = "index.parquet"
WORD = "record_word"
"""The column of the words that say whether a record's file has changed since."""
LEASE_S = 300.0
"""Seconds after which a claim in an object store, where there are no locks, is of a process that has ended."""
Status = Literal["done", "failed"]
Kind = Literal["", "refused", "crashed", "time", "memory", "lost"]
"""Why a subject failed: bad input, a crash, the time or the memory was over, or the machine was gone too often."""


@dataclass(frozen=True)
class Record:
    """What is known of one subject; a row of the table."""

    id: str
    status: Status
    kind: Kind
    error: str
    """The sentence that says why it failed."""
    warnings: str
    seconds: float
    """Wall time of the last attempt."""
    peak_memory_mb: float
    attempts: int
    face_mm: float | None
    """Mean distance from the scan's face to the result, where a scan was given."""
    head_mm: float | None
    fingerprint: str
    """Of options and inputs, by sizes and times."""
    content_hash: str
    """Of options and the contents of inputs."""
    inputs: str
    """JSON."""
    options: str
    """JSON."""
    protome: str
    """Version of this package."""
    host: str
    finished: float
    """Seconds since 1970."""
    log: str = ""
    """The end of what a crashed process said; not in the table."""


@dataclass(frozen=True)
class Records:
    """The records in a folder of results; several processes and machines may write at once."""

    out: Place
    words: dict[str, str] = field(default_factory=dict, compare=False)
    """Of each record that was read, a word that changes with its file."""

    def _at(self, kind: str, name: str, suffix: str) -> Place:
        shard = hashlib.sha256(name.encode()).hexdigest()[:2]
        return self.out / KEPT / kind / shard / f"{name}{suffix}"

    def thumbnail(self, name: str) -> Place:
        """Return where a subject's small picture lies."""
        return self._at("thumbnails", name, ".jpg")

    def write(self, record: Record) -> None:
        """Write one subject's record, all at once."""
        self.words.pop(record.id, None)
        self._at("records", record.id, ".json").write(json.dumps(asdict(record), indent=1).encode())

    def read(self, name: str) -> Record | None:
        """Return one subject's record; None if there is none."""
        place = self._at("records", name, ".json")
        try:
            return _record(place.read())
        except InputError:
            return None

    def all(self) -> dict[str, Record]:
        """Return all records by name.

        Their files are listed, which costs one request for a thousand of them, and those alone are read that have
        changed since the table was written: a million requests take hours.
        """
        root = self.out / KEPT / "records"
        if not root.exists():
            return {}
        listed = {name: word for name, word in root.files() if name.endswith(".json") and "/." not in f"/{name}"}
        found: dict[str, Record] = {}
        for record, word in _rows(_content(self.out / INDEX)):
            file = self._at("records", record.id, ".json").address[len(root.address.rstrip("/")) + 1 :]
            if word and listed.get(file.replace("\\", "/")) == word:
                found[record.id] = record
                self.words[record.id] = word
                del listed[file.replace("\\", "/")]
        with ThreadPoolExecutor(8) as threads:
            read = threads.map(lambda name: _record(_content(root / name)), listed)
            for word, own in zip(listed.values(), read, strict=True):
                if own is not None:
                    found[own.id] = own
                    self.words[own.id] = word
        return found

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Claim a subject for this thread while the block runs; the block learns whether nobody else has it.

        On this machine, and on file systems that machines share, the claim is a lock, which ends with the process. In
        an object store it is a file that is made only if there is none, and is renewed; left behind, it counts for five
        minutes.
        """
        place = self._at("claims", name, ".lock")
        if place.remote:
            with _lease(place) as got:
                yield got
            return
        place.local.parent.mkdir(parents=True, exist_ok=True)
        held = lock_file(place.local)
        if held is None:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                place.local.unlink(missing_ok=True)
            os.close(held)

    def write_index(self, records: dict[str, Record]) -> None:
        """Write the table of all records, all at once."""
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        kinds = {"str": arrow.string(), "float": arrow.float64(), "float | None": arrow.float64(), "int": arrow.int64()}
        names = [field.name for field in fields(Record) if field.name != "log"]
        typed = {field.name: kinds.get(str(field.type), arrow.string()) for field in fields(Record)}
        schema = arrow.schema([*((name, typed[name]) for name in names), (WORD, arrow.string())])
        rows = [
            {name: getattr(record, name) for name in names} | {WORD: self.words.get(record.id, "")}
            for _, record in sorted(records.items())
        ]
        buffer = io.BytesIO()
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer)
        (self.out / INDEX).write(buffer.getvalue())


def check_index_library() -> None:
    """Make sure that tables can be written.

    Raises:
        InputError: the library is missing.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError("the table of a batch is written with pyarrow: run `pip install pyarrow`") from error


def _content(place: Place) -> bytes:
    try:
        return place.read()
    except InputError:
        return b""


def _rows(content: bytes) -> list[tuple[Record, str]]:
    """Return the records of a table, each with the word of its file; none of what is no such table."""
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        names = [own.name for own in fields(Record) if own.name != "log"]
        rows = parquet.read_table(io.BytesIO(content), columns=[*names, WORD]).to_pylist()
        return [(Record(**{name: row[name] for name in names}), row[WORD]) for row in rows]
    except Exception:  # a table of an earlier version, or a damaged one: the records themselves are read
        return []


def _record(content: bytes) -> Record | None:
    """Return a record from its file; None if that is not one."""
    try:
        found: dict[str, Any] = json.loads(content)
        return Record(**{field.name: found[field.name] for field in fields(Record)})
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _lease(place: Place) -> Iterator[bool]:
    """Hold a claim in an object store by a file that says until when it counts."""
    store, path = place.store()
    own = f"{socket.gethostname()} {os.getpid()} {threading.get_ident()} {time.time()}"

    def create() -> bool:
        try:
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
            with store.open(path, "xb") as file:
                file.write(stamp())
        except (FileExistsError, ValueError):
            return False
        return True

    def stamp() -> bytes:
        return json.dumps({"owner": own, "until": time.time() + LEASE_S}).encode()

    if not (create() or (_is_over(place) and _removed(store, path) and create())):
        yield False
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_S / 4):
            with suppress(InputError):
                place.write(stamp())

    threading.Thread(target=renew, daemon=True).start()
    try:
        yield True
    finally:
        ended.set()
        with suppress(Exception):
            store.rm_file(path)


def _is_over(place: Place) -> bool:
    try:
        return float(json.loads(place.read())["until"]) < time.time()
    except (InputError, ValueError, KeyError, TypeError):
        return False


def _removed(store: Any, path: str) -> bool:
    with suppress(FileNotFoundError):
        store.rm_file(path)
    return True
