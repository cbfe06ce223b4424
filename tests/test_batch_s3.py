"""A batch whose photos, table and results lie in an object store that speaks S3."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batches import begun, options
from protome.batch.batch import run_batch
from protome.batch.places import Place
from protome.batch.process import Limits
from protome.errors import IncompleteError


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket of a server on this machine."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    name = f"s3://people-{uuid.uuid4().hex}"
    store, path = Place(name).store()
    store.mkdir(path)
    yield name
    server.stop()


def test_a_batch_reads_from_and_writes_to_s3(bucket: str, tmp_path: Path) -> None:
    given, out = Place(f"{bucket}/given"), Place(f"{bucket}/out")
    for name, said in {"a/1.jpg": "fine, one", "b.jpg": "refuse"}.items():
        (given / name).write(said.encode())
    (given / "list.csv").write(b"id,photos\nanna,a/1.jpg\nben,b.jpg\n")
    own = options(tmp_path, Limits(retries=0))
    for begins in (["anna", "ben"], []):  # the second run finds everything done
        with pytest.raises(IncompleteError, match=r"^1 of 2 subjects failed, the first of them ben \(no face found"):
            run_batch(f"{given.address}/list.csv", out.address, own, quiet=True)
        assert sorted(begun(tmp_path)) == begins
        (tmp_path / "log.txt").unlink(missing_ok=True)
    assert (out / "anna" / "head.ply").read().decode().startswith("fine, one")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(io.BytesIO((out / "index.parquet").read())).to_pylist()
    assert {row["id"]: row["error"] for row in rows} == {"anna": "", "ben": "no face found in it: give another photo"}
    # A photo that has changed is done again, and nothing else is.
    (given / "a/1.jpg").write(b"fine, another")
    with pytest.raises(IncompleteError):
        run_batch(f"{given.address}/list.csv", out.address, own, quiet=True)
    assert begun(tmp_path) == ["anna"]
    assert (out / "anna" / "head.ply").read().decode().startswith("fine, another")
