"""What the executor does where a venue refuses it, and with what a feed says of a later time."""

from pathlib import Path
from typing import Any

import pytest

from live.market import Bar, Quote, Signal
from live.venues import NewOrder, SkipError, StopError
from tests.live.trading import MINUTE_MS, START_MS, Desk, Script, bar

P = 100_000.0


class Refusing:
    """A venue that wants a person wherever it is asked about an order."""

    def __init__(self, desk: Desk, *, refuses_cancels: int = 0) -> None:
        self.desk = desk
        self.cancels = 0
        self.refuses_cancels = refuses_cancels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk.paper, name)

    def order(self, symbol: str, client_id: str) -> None:
        raise StopError("401: the key was revoked")

    def cancel(self, symbol: str, client_id: str) -> None:
        self.cancels += 1
        if self.cancels <= self.refuses_cancels:
            raise StopError("401: the key was revoked")
        self.desk.paper.cancel(symbol, client_id)


def refuse(desk: Desk, venue: Any) -> None:
    """Let an engine that runs meet another venue."""
    executor = desk.engine.executor
    executor._venue = executor._router._venue = venue


@pytest.mark.parametrize("mode", ["run", "kill"])
def test_keys_refused_with_an_order_in_flight_halt_and_cancel_until_it_is_gone(
    tmp_path: Path, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), maker_window_s=600)
    desk.play(bar("BTCUSDT", 0, P))
    assert len(desk.paper.open_orders()) == 1
    venue = Refusing(desk, refuses_cancels=2)
    refuse(desk, venue)
    if mode == "kill":
        desk.controls.set("kill", "a test", by="me", now_ms=desk.clock.now_ms())
    for _ in range(5):
        desk.engine.step()
        desk.clock.wait_ms(1_000)
    assert desk.controls.state().mode == ("kill" if mode == "kill" else "halt")
    assert venue.cancels == 3
    assert desk.paper.open_orders() == []
    assert desk.engine.executor.is_busy  # how it ended nobody says
    assert caplog.text.count("cannot be ended yet") == 1
    before_ms = desk.clock.now_ms()
    desk.engine.close()
    assert desk.clock.now_ms() - before_ms <= 11_000  # shutdown_s
    assert caplog.text.count("cannot be ended yet") == 1


def test_keys_that_are_refused_during_the_shutdown_end_it_in_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), maker_window_s=600)
    desk.play(bar("BTCUSDT", 0, P))
    refuse(desk, Refusing(desk))
    before_ms = desk.clock.now_ms()
    desk.engine.close()
    assert desk.clock.now_ms() - before_ms <= 11_000
    assert desk.paper.open_orders() == []
    assert desk.controls.state().mode == "halt"


@pytest.mark.parametrize(("reason", "is_told"), [("rejected", True), ("not_open", False)])
def test_cancel_that_a_kill_is_refused_is_told_and_tried_again_unless_nothing_is_open(
    tmp_path: Path, reason: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, Script({}))
    desk.play(bar("BTCUSDT", 0, P))
    desk.paper.create(
        NewOrder("byhand", "BTCUSDT", "BUY", "post_only", 0.001, 90_000.0, False, "BOTH")
    )
    refused: list[str] = []

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(desk.paper, name)

        def cancel(self, symbol: str, client_id: str) -> None:
            refused.append(client_id)
            raise SkipError("-1102: a parameter is missing", reason=reason)

    refuse(desk, Refusing())
    desk.controls.set("kill", "a test", by="me", now_ms=desk.clock.now_ms())
    for _ in range(3):
        desk.engine.step()
        desk.clock.wait_ms(1_000)
    assert refused == ["byhand"] * 3
    assert ("byhand is not cancelled yet, trying again: -1102" in caplog.text) is is_told


@pytest.mark.parametrize("is_bar", [False, True])
def test_price_of_a_later_time_counts_as_of_now_and_hides_no_move_after_it(
    tmp_path: Path, is_bar: bool
) -> None:
    desk = Desk(tmp_path, Script({}), price_band_pct=50.0)
    desk.play(bar("BTCUSDT", 0, P))
    executor = desk.engine.executor
    now_ms = START_MS + MINUTE_MS
    if is_bar:
        executor.see([Bar("BTCUSDT", now_ms - 30_000, MINUTE_MS, P, P, P, P, 0.0)])
    else:
        executor.see_quote(Quote("BTCUSDT", now_ms + 30_000, P - 1, P + 1))
    for second in range(1, 11):
        mid = P * (1 - 0.01 * second)
        desk.engine.on_quote(Quote("BTCUSDT", now_ms + second * 1_000, mid - 1, mid + 1))
    executor.act(Signal("s", "BTCUSDT", "LONG", desk.clock.now_ms(), 0.9 * P, 0.6))
    assert desk.vetoes() == ["volatility"]
