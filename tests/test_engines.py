"""Engines give each job to one process, whose preparation is done once, and leave nothing running behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from protome.errors import InputError
from protome.util.engines import Engine, Here, Processes, Work, check_engine, in_order

_calls: list[str] = []


def _listen(*words: str) -> None:
    _calls.extend(words)


def _heard(job: int) -> tuple[int, int, list[str], int]:
    return job, os.getpid(), list(_calls), torch.get_num_threads()


def _faulty(job: tuple[str, Path]) -> str:
    """Note the process that has a job, and do what the job says."""
    word, place = job
    (place / word).write_text(str(os.getpid()))
    if word == "refuse":
        raise InputError("a sentence")
    if word == "die":
        os._exit(1)
    if word == "wait":
        time.sleep(600)
    return word


def test_processes_are_prepared_once_and_have_one_thread() -> None:
    found = in_order(Processes(1), Work(_heard, _listen, ("once", "each")), [3, 1, 2])
    assert [job for job, *_ in found] == [3, 1, 2]
    assert {process for _, process, *_ in found} != {os.getpid()}
    assert len({process for _, process, *_ in found}) == 1
    assert [(words, threads) for *_, words, threads in found] == [(["once", "each"], 1)] * 3


def test_this_process_is_prepared_anew_for_other_work() -> None:
    _calls.clear()
    for words in (("a",), ("a",), ("b",)):
        assert [job for job, *_ in in_order(Here(), Work(_heard, _listen, words), [5, 4])] == [5, 4]
    assert _calls == ["a", "b"]


def _process_has_ended(place: Path) -> bool:
    try:
        return Path(f"/proc/{int(place.read_text())}/cmdline").read_bytes() == b""  # a zombie has none
    except OSError:
        return True


def test_a_job_that_fails_ends_the_others(tmp_path: Path) -> None:
    jobs, found = [("wait", tmp_path), ("fine", tmp_path), ("refuse", tmp_path)], []
    with pytest.raises(InputError, match=r"^a sentence$"):
        for number, result in Processes(2).run(Work(_faulty), jobs):
            while not (tmp_path / "wait").is_file():
                time.sleep(0.01)
            found.append((number, result))
    assert found == [(1, "fine")]
    assert _process_has_ended(tmp_path / "wait")


def test_a_process_that_is_ended_from_outside_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a process was ended in the middle of its work, as where memory is short"):
        list(Processes(1).run(Work(_faulty), [("die", tmp_path), ("fine", tmp_path)]))


@pytest.mark.parametrize("engine", [Processes(1), Here()])
def test_no_jobs_are_no_work(engine: Engine) -> None:
    assert list(engine.run(Work(_faulty), [])) == []


def test_options_that_do_not_fit_together_are_refused() -> None:
    check_engine("ray", "head:6379", 2)
    with pytest.raises(InputError, match="--jobs 0 is out of range: give 1 or more"):
        check_engine("local", None, 0)
    with pytest.raises(InputError, match="--address is that of a Ray cluster: give --engine ray as well"):
        check_engine("local", "head:6379", None)
