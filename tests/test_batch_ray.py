"""The same batch on the machines of a cluster, some of which are gone before the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batches import begun, options, photos
from protome.batch.batch import run_batch
from protome.batch.manifest import parse_options
from protome.batch.process import Limits
from protome.batch.work import WORK, Task
from protome.errors import InputError
from protome.util.engines import Ray, Share, Work, in_order

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three machines, simulated on this one; the first has no processors for tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1] / "src"), str(Path(__file__).parent)])
        )
        yield from _machines()


def _machines() -> Iterator[Any]:
    machines = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    )
    for _ in range(2):
        machines.add_node(num_cpus=1, object_store_memory=10**8)
    yield machines
    ray.shutdown()
    machines.shutdown()


def test_jobs_of_other_commands_run_on_a_cluster(cluster: Any) -> None:
    engine, work = Ray(cluster.address), Work(parse_options, tensors=False)
    assert in_order(engine, work, ["--preset draft", "", "--seed 3"]) == [{"preset": "draft"}, {}, {"seed": "3"}]
    with pytest.raises(InputError, match=r"^the option") as error:
        in_order(engine, work, ["--preset draft", "draft"])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^a job could not be done: its process or machine was gone 1 times"):
        in_order(Ray(cluster.address, Share(retries=0)), Work(os._exit, tensors=False), [1])


def test_a_machine_that_is_gone_loses_no_subject(cluster: Any, tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(6)]
    given, out = photos(tmp_path / "in", **dict.fromkeys(names, "slow 1.5")), tmp_path / "out"
    own = replace(options(tmp_path, Limits(retries=3)), engine="ray", address=cluster.address)
    tasks = [Task(each, str(out), own.limits, False, own.program) for each in _subjects(given)]
    found, removed = {}, False
    for number, record in Ray(cluster.address, Share(retries=3)).run(WORK, tasks):
        assert record is not None
        found[tasks[number].subject.name] = record
        if not removed:
            own_node = ray._private.worker.global_worker.node._raylet_socket_name  # a driver ends with its own
            others = [node for node in cluster.worker_nodes if node._raylet_socket_name != own_node]
            cluster.remove_node(others[0], allow_graceful=False)  # a subject may be running on it
            removed = True
    assert {name: record.status for name, record in found.items()} == dict.fromkeys(names, "done")
    assert all((out / name / "result.json").is_file() for name in names)
    run_batch(str(given), str(out), replace(own, engine="local", address=None), quiet=True)
    assert {row["id"] for row in parquet.read_table(out / "index.parquet").to_pylist()} == set(names)
    assert len(begun(tmp_path)) <= len(names) + 2  # at most those that ran on the machine are begun again


def _subjects(given: Path) -> list[Any]:
    from protome.batch.manifest import read_subjects
    from protome.batch.places import Place

    return read_subjects(str(given), Place("out"), {})


def test_no_cluster_at_an_address_is_one_sentence(tmp_path: Path) -> None:
    own = replace(options(tmp_path), engine="ray", address="127.0.0.1:1")
    with pytest.raises(InputError, match=r"there is no Ray cluster at 127\.0\.0\.1:1") as error:
        run_batch(str(photos(tmp_path / "in", a="fine")), str(tmp_path / "out"), own, quiet=True)
    assert "\n" not in str(error.value)
