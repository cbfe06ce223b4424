"""Graphics cards are dealt out to subjects: none is shared that should not be, none is asked for that is not there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from batches import options, photos
from protome.batch import batch
from protome.batch.batch import run_batch
from protome.batch.cards import VISIBLE, check_share, shares, visible_cards
from protome.batch.engines import Local
from protome.batch.manifest import read_subjects
from protome.batch.places import Place
from protome.batch.process import Limits
from protome.batch.work import WORK, Task
from protome.errors import InputError
from protome.util.engines import check_machines

HOLDS_A_CARD = f"""
import json, os, sys, time
from pathlib import Path
here, out = Path(__file__).parent, Path(sys.argv[sys.argv.index("--out") + 1])
own = here / ("card_" + os.environ["{VISIBLE}"])
own.touch(exist_ok=False)  # fails where another process has the same card
time.sleep(0.1)
own.unlink()
with (here / "cards.txt").open("a") as log:
    log.write(os.environ["{VISIBLE}"] + "\\n")
(out / "result.json").write_text(json.dumps({{}}))
"""


@pytest.mark.parametrize(
    ("count", "gpus", "expected"),
    [
        (1, 1, ("0",)),
        (4, 1, ("0", "1", "2", "3")),
        (4, 2, ("0,1", "2,3")),
        (5, 2, ("0,1", "2,3")),  # the fifth is too few for a subject
        (2, 0.5, ("0", "1", "0", "1")),
        (1, 0.4, ("0", "0")),
        (1, 1 / 3, ("0", "0", "0")),
        (3, 0, ()),
    ],
)
def test_as_many_run_at_once_as_there_are_cards_for(count: int, gpus: float, expected: tuple[str, ...]) -> None:
    assert shares(visible_cards(count, None), gpus) == expected


def test_the_cards_that_the_environment_names_are_given_out() -> None:
    assert shares(visible_cards(2, "5, 7"), 1) == ("5", "7")
    assert visible_cards(1, "3,9") == ("3",)  # CUDA ends at the first name that it does not know


@pytest.mark.parametrize(
    ("gpus", "sentence"),
    [
        (-1, "--gpus-per-subject -1 is out of range: give 0 or more"),
        (float("nan"), "--gpus-per-subject nan is out of range: give 0 or more"),
        (1.5, "--gpus-per-subject 1.5 is no whole number: give a whole one, or a part of one card"),
    ],
)
def test_numbers_that_cannot_be_given_out_are_refused(gpus: float, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        check_share(gpus)
    assert str(error.value) == sentence


def test_a_machine_with_too_few_cards_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(options(tmp_path), limits=Limits(gpus=2))
    for count, sentence in (
        ((), "needs a graphics card, and CUDA finds none on this machine: leave it out"),
        (("0",), "is more than this machine has: CUDA finds 1"),
    ):
        monkeypatch.setattr(batch, "cards_here", lambda count=count: count)
        with pytest.raises(InputError) as error:
            run_batch(str(photos(tmp_path / "in", a="fine")), str(tmp_path / "out"), own, quiet=True)
        assert str(error.value) == f"--gpus-per-subject 2 {sentence}"
        assert not (tmp_path / "out").exists()


def test_a_cluster_whose_machines_have_too_few_cards_is_refused() -> None:
    check_machines([0, 4, 1], 4)
    check_machines([0], 0)
    with pytest.raises(InputError, match=r"--gpus-per-subject 2 is more than any machine of the cluster has \(1\)"):
        check_machines([1, 1, 1], 2)
    with pytest.raises(InputError, match=r"--gpus-per-subject 1 is more than any machine of the cluster has \(0\)"):
        check_machines([], 1)


def test_processes_that_run_at_once_see_different_cards(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(HOLDS_A_CARD)
    given = read_subjects(str(photos(tmp_path / "in", **dict.fromkeys("abcde", "fine"))), Place("out"), {})
    program = (sys.executable, str(script))
    tasks = [Task(each, str(tmp_path / "out"), Limits(retries=0), program=program) for each in given]
    for name in "abcde":
        (tmp_path / "out" / name).mkdir(parents=True)
    ended = [record for _, record in Local(4, ("1", "3")).run(WORK, tasks)]
    assert [record.status for record in ended if record is not None] == ["done"] * 5
    assert set((tmp_path / "cards.txt").read_text().split()) == {"1", "3"}
