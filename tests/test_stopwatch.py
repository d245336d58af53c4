"""Where the time goes: the clock is in one phase at a time, and all of the time is in one of them."""

import time

import pytest

from ecosystem import loop, scenarios
from ecosystem.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A stopwatch that runs by ``clock.at``."""
    at = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: at[0])
    watch = Stopwatch()
    watch.at = at
    return watch


def test_time_goes_to_the_phase_that_it_was_spent_in(clock):
    clock.at[0] = 2.0
    assert clock.enter("publish") == "start"
    clock.at[0] = 3.0
    with clock.during("training"):
        clock.at[0] = 7.0
        with clock.during("display"):
            clock.at[0] = 7.5
        clock.at[0] = 8.0
    clock.at[0] = 10.0
    assert clock.seconds == {"start": 2.0, "publish": 3.0, "training": 4.5, "display": 0.5}
    clock.at[0] = 11.0
    assert clock.seconds["publish"] == 4.0, "the open phase goes on"
    assert sum(clock.seconds.values()) == 11.0


def test_a_phase_that_ends_with_an_error_is_left(clock):
    with pytest.raises(ValueError, match="no"), clock.during("training"):
        clock.at[0] = 1.0
        raise ValueError("no")
    assert clock.enter("next") == "start"


def test_a_world_is_made_in_the_phase_of_the_start_whatever_ran_before(monkeypatch, tiny, tmp_path):
    """Else what it takes to be ready, a classifier to train, is told as the last phase of the seed before."""
    phases, made = [], loop.World

    def tells(*arguments):
        phases.append(loop.clock._phase)
        return made(*arguments)

    monkeypatch.setattr(loop, "World", tells)
    loop.clock.enter("measure")
    list(loop.run(scenarios.load(str(tiny())), [0, 1], tmp_path / "run"))
    assert phases == ["start", "start"]
