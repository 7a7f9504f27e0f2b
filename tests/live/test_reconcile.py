"""Orders that the engine does not know: its own late ones are cancelled, others' are left alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from live.trading.book import Lots
from live.trading.reconcile import Reconciler
from live.venues import Account, NewOrder, Position
from live.venues.paper import PaperVenue
from tests.live.trading import Desk, Script, bar

P = 100_000.0


def test_only_orders_with_an_id_as_the_engine_makes_them_are_cancelled_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, Script({2: "LONG"}))
    desk.play(bar("BTCUSDT", 0, P), bar("BTCUSDT", 1, P))
    own = desk.engine.executor.new_id()
    others = ["x-cvBPrNm9stop1", "x-a1-b2", "xTrailing-1", "xm7k2-9", "web_stop"]
    for name in (*others, own):
        desk.paper.create(
            NewOrder(name, "BTCUSDT", "BUY", "post_only", 0.001, 90_000.0, False, "BOTH")
        )
    desk.play(bar("BTCUSDT", 2, P), bar("BTCUSDT", 3, P))
    assert [order.client_id for order in desk.paper.open_orders()] == others
    assert f"cancelling {own} of BTCUSDT" in caplog.text
    assert caplog.text.count("cancelling ") == 1
    assert desk.vetoes() == ["unreconciled"]
    assert "order x-cvBPrNm9stop1 of BTCUSDT is open and not known" in (
        desk.engine.executor.summary()
    )


@pytest.mark.parametrize("told", ["equity", "position"])
def test_numbers_that_are_none_agree_with_nothing(tmp_path: Path, told: str) -> None:
    class Odd(PaperVenue):
        def account(self) -> Account:
            found = super().account()
            return (
                msgspec.structs.replace(found, equity_usd=math.nan) if told == "equity" else found
            )

        def positions(self) -> Sequence[Position]:
            return [Position("BTCUSDT", "BOTH", math.nan, P, P)] if told == "position" else ()

    desk = Desk(tmp_path)
    venue = Odd(desk.clock, instruments=desk.paper._instruments)
    reconciler = Reconciler(venue, Lots())
    assert not reconciler.compare(set(), now=0.0)
    assert "nan" in str(reconciler.difference)
