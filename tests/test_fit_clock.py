"""Budgets and the share of a run that is done."""

from __future__ import annotations

import pytest

from protome.errors import InputError
from protome.fit.clock import Budget, Clock


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("300", Budget(steps=300)),
        ("60s", Budget(seconds=60.0)),
        (" 2.5 s", Budget(seconds=2.5)),
        ("1", Budget(steps=1)),
    ],
)
def test_budgets_are_steps_or_seconds(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "s", "fast", "-3", "2.5", "0", "0s", "3m"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="give steps, as in 300, or seconds, as in 60s"):
        Budget.parse(text)


def test_steps_are_shares_of_their_number() -> None:
    clock = Clock(4)
    assert [clock.done(number) for number in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert Clock(0).done(0) == 1


def test_by_the_clock_the_number_of_steps_does_not_matter() -> None:
    now = [100.0]
    clock = Clock(1000, seconds=8.0, now=lambda: now[0])
    now[0] = 103.0
    assert clock.done(0) == 0  # one step is always taken
    assert clock.done(1) == 3 / 8
    now[0] = 500.0
    assert clock.done(2) == 1
