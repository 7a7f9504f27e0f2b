"""The breaker: when it opens, how long it waits, what it says and counts."""

import logging

import pytest

from live.mirror.breaker import Breaker, Counts


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("the wire", failures_to_open=3, pause_s=30, longest_pause_s=100, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(ConnectionError("no route"))


def test_it_opens_at_the_third_failure_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()  # the row is broken -> counts from 0 again
    fail(breaker, 2)
    assert breaker.allows()
    fail(breaker, 1)
    assert (breaker.is_open, breaker.allows()) == (True, False)
    assert breaker.counts == Counts(done=1, failed=5, skipped=1)


def test_after_the_pause_one_call_is_tried_and_the_next_pause_is_twice_as_long(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    for pause_s in (30, 60, 100, 100):
        clock.now_s += pause_s - 0.1
        assert not breaker.allows()
        clock.now_s += 0.1
        assert breaker.allows()
        assert not breaker.allows()  # others wait for how that one goes
        fail(breaker, 1)


def test_success_closes_it_and_the_pause_is_short_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now_s += 30
    assert breaker.allows()
    fail(breaker, 1)
    clock.now_s += 60
    assert breaker.allows()
    breaker.succeeded()
    assert (breaker.is_open, breaker.allows(), breaker.last_error) == (False, True, None)
    fail(breaker, 3)
    clock.now_s += 30
    assert breaker.allows()


def test_who_was_let_through_and_never_reported_does_not_keep_it_open(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now_s += 30
    assert breaker.allows()  # its thread dies here
    clock.now_s += 30
    assert breaker.allows()


def test_each_change_is_said_once(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fail(breaker, 7)
    breaker.succeeded()
    breaker.succeeded()
    assert [record.message for record in caplog.records] == [
        "the wire fails: ConnectionError: no route",
        "the wire failed 3 times in a row and is left alone for 30 s at first:"
        " ConnectionError: no route",
        "the wire works again after 7 failures",
    ]
