"""Each gate refuses what it is for, lets closes pass where it should, and no snapshot opens it."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.settings import Trading
from live.market import Quote
from live.snapshot.acting import Acting
from live.snapshot.reading import Reading
from live.trading.controls import Controls, Disabled, State
from live.trading.gates import GATES, Ask, World, judge
from live.venues import NewOrder, RetryError
from tests.live.trading import BTC, START_MS, Desk, Script, bar, reading, walk

QUOTE = Quote("BTCUSDT", START_MS, 99_999.0, 100_001.0)
CAPS = Trading(
    buckets={"majors": ("BTCUSDT", "ETHUSDT")}, max_bucket_pct=60, max_symbol_pct=50, max_leverage=3
)


DEAR = msgspec.structs.replace(BTC, min_notional_usd=1_001.0)
FAR = {"long_usd": {"SOLUSDT": 9_500.0}, "short_usd": {"SUIUSDT": -9_800.0}}


def world(**values: Any) -> World:
    usual: dict[str, Any] = {
        "now_ms": START_MS, "trading": CAPS, "environment": "live", "controls": State(),
        "instrument": BTC, "quote": QUOTE, "mark": 100_000.0, "equity_usd": 10_000.0,
        "drawdown_pct": 0.0,
        "drawdown_of": "the day's peak", "clock_offset_ms": 0.0, "is_reconciled": True,
        "is_writable": True, "snapshot_status": "ok", "snapshot_too_old": False,
        "has_snapshot": True, "move_pct": None, "orders_minute": 0, "orders_hour": 0,
        "is_hedged": False,
        "long_usd": {}, "short_usd": {},
    }  # fmt: skip
    return World(**{**usual, **values})


def ask(qty: float = 0.01, **values: Any) -> Ask:
    usual: dict[str, Any] = {
        "symbol": "BTCUSDT", "side": "BUY", "price": 100_000.0, "is_reducing": False,
    }  # fmt: skip
    return Ask(qty=qty, **{**usual, **values})


def vetoed_by(one: Ask, at: World) -> str | None:
    veto = judge(one, at)
    return veto.gate if veto else None


# what is wrong with the world or the order -> gate that refuses an opening, and a close
CASES: list[tuple[dict[str, Any], dict[str, Any], str, bool]] = [
    ({"controls": State("kill", "test")}, {}, "kill", True),
    ({"controls": State("halt", "test")}, {}, "halt", True),
    ({"controls": State("reduce_only", "test")}, {}, "reduce_only", False),
    ({"drawdown_pct": -3.0}, {}, "drawdown", False),
    ({"is_writable": False}, {}, "unwritable_log", False),
    ({"is_reconciled": False}, {}, "unreconciled", False),
    ({"equity_usd": None}, {}, "account_unknown", False),
    ({"equity_usd": float("nan")}, {}, "account_unknown", False),
    ({"snapshot_too_old": True}, {}, "snapshot_age", False),
    ({"has_snapshot": False}, {}, "snapshot_age", False),  # live: never without one
    ({"controls": State(disabled={"BTCUSDT": Disabled("news")})}, {}, "symbol_disabled", False),
    ({"clock_offset_ms": 1_000.0}, {}, "clock_offset", True),
    ({"clock_offset_ms": -1_000.0}, {}, "clock_offset", True),
    ({"clock_offset_ms": None}, {}, "clock_offset", True),
    ({"quote": None}, {}, "no_quote", True),
    ({"quote": Quote("BTCUSDT", START_MS - 90_001, 1.0, 2.0)}, {}, "no_quote", True),
    ({"quote": Quote("BTCUSDT", START_MS + 90_001, 1.0, 2.0)}, {}, "no_quote", True),
    ({"quote": Quote("BTCUSDT", START_MS, 100_001.0, 100_001.0)}, {}, "no_quote", True),
    ({}, {"qty": 0.0005}, "lot_size", True),
    ({}, {"qty": 0.0015}, "lot_size", True),
    ({"instrument": DEAR}, {}, "min_notional", False),
    ({}, {"price": 103_001.0}, "price_band", True),
    ({"quote": Quote("BTCUSDT", START_MS, 99_800.0, 100_200.0)}, {}, "spread", False),
    ({"move_pct": 5.1}, {}, "volatility", False),
    ({"orders_minute": 30}, {}, "orders_minute", False),
    ({"orders_hour": 300}, {}, "orders_hour", False),
    ({"equity_usd": 1e6}, {"qty": 0.051}, "order_cap", False),
    ({"equity_usd": 333.0}, {}, "leverage_cap", False),
    ({"long_usd": {"BTCUSDT": 4_500.0}}, {}, "symbol_cap", False),
    ({"long_usd": {"ETHUSDT": 5_500.0}}, {}, "bucket_cap", False),
    ({"long_usd": {"SOLUSDT": 14_500.0}}, {}, "portfolio_cap", False),
    (FAR, {}, "gross_cap", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "order", "gate", "stops_closing"), CASES, ids=lambda value: str(value)[:40]
)
def test_gate_refuses_and_says_so(
    wrong: dict[str, Any], order: dict[str, Any], gate: str, stops_closing: bool
) -> None:
    assert vetoed_by(ask(**order), world(**wrong)) == gate
    closing = vetoed_by(ask(**order, is_reducing=True), world(**wrong))
    assert closing == (gate if stops_closing else None)


def test_every_gate_has_a_case() -> None:
    assert {gate for _, _, gate, _ in CASES} == {gate.name for gate in GATES}


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ({}, {}),
        ({"drawdown_pct": -2.99}, {}),
        ({"clock_offset_ms": 999.0}, {}),
        ({"environment": "paper", "has_snapshot": False, "snapshot_too_old": True}, {}),
        ({"controls": State(disabled={"BTCUSDT": Disabled("x", START_MS)})}, {}),  # it is over
        ({"controls": State(disabled={"ETHUSDT": Disabled("x")})}, {}),
        ({"long_usd": {"BTCUSDT": 4_000.0}}, {}),  # exactly at the cap
        ({"long_usd": {"BTCUSDT": 4_900.0}}, {"side": "SELL"}),  # brings it nearer to zero
    ],
)
def test_what_is_within_bounds_passes(values: dict[str, Any], order: dict[str, Any]) -> None:
    assert judge(ask(**order), world(**values)) is None


def test_open_orders_count_as_filled_in_caps() -> None:
    both = world(long_usd={"BTCUSDT": 4_500.0}, short_usd={"BTCUSDT": -4_500.0})
    assert vetoed_by(ask(), both) == "symbol_cap"
    assert vetoed_by(ask(side="SELL"), both) == "symbol_cap"


@pytest.mark.parametrize(
    ("buckets", "gate"),
    [
        ({"majors": ("btcusdt", "EthUsdt")}, "bucket_cap"),
        ({"a": ("btcusdt",), "b": ("ethusdt",)}, None),
    ],
)
def test_a_bucket_caps_its_symbols_in_whatever_case_they_are_written(
    buckets: dict[str, tuple[str, ...]], gate: str | None
) -> None:
    trading = CAPS.model_copy(update={"buckets": buckets})
    held = {"ETHUSDT": 5_500.0}
    assert vetoed_by(ask(), world(trading=trading, long_usd=held)) == gate


def test_both_sides_count_in_hedge_mode() -> None:
    sides = {"long_usd": {"BTCUSDT": 2_000.0}, "short_usd": {"BTCUSDT": -2_500.0}}
    assert judge(ask(), world(**sides)) is None
    assert vetoed_by(ask(), world(**sides, is_hedged=True)) == "symbol_cap"


@settings(max_examples=25)
@given(
    factor=st.floats(0.0, 10.0),
    offset=st.floats(0.5, 8.0),
    quality=st.sampled_from(["broken", "degraded", "unknown", "ok", "good"]),
    maker_first=st.sampled_from([True, False, None]),
    bias=st.sampled_from(["prefer_taker", "balanced", "prefer_maker"]),
    seed=st.integers(0, 1000),
)
def test_no_snapshot_value_lifts_a_cap(
    tmp_path_factory: pytest.TempPathFactory, factor: float, offset: float, quality: Any,
    maker_first: bool | None, bias: Any, seed: int,
) -> None:  # fmt: skip
    acting = Acting(factor, (offset,) * 24, quality, maker_first, bias)

    def read(symbol: str) -> Reading:
        return reading(symbol, acting=acting)

    desk = Desk(
        tmp_path_factory.mktemp("caps"), Script({1: "LONG", 4: "SHORT", 7: "LONG"}), read=read,
        has_state=False, gross_target_usd=1_500.0, max_order_usd=3_000.0, max_symbol_pct=20.0,
    )  # fmt: skip
    for one in walk(seed, 12):
        desk.engine.on_bar(one)
        assert abs(desk.position) * one.close <= 2_000.0 * 1.01  # the mark moves after the fill
    # Quantities are floored to a step, some 100 USD, and a maker's price lies below the last one.
    if factor * 1_500.0 > 2_000.0 * 1.01 + BTC.step * 101_000.0:
        assert set(desk.vetoes()) <= {"symbol_cap", "order_cap"}
        assert desk.vetoes()


@pytest.mark.parametrize("mode", ["kill", "halt"])
def test_kill_cancels_what_is_open_and_lets_nothing_pass_until_resume(
    tmp_path: Path, mode: Any
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "LONG"}))
    desk.play(bar("BTCUSDT", 0, 100_000))
    assert len(desk.paper.open_orders()) == 1
    desk.controls.set(mode, "a test", by="me", now_ms=desk.clock.now_ms())
    desk.play(bar("BTCUSDT", 1, 100_000), bar("BTCUSDT", 2, 100_000))
    assert desk.paper.open_orders() == []
    assert desk.outcomes()[0]["result"]["status"] == "CANCELED"
    assert desk.outcomes()[0]["reason"] == mode
    desk.start()  # a restart changes nothing
    desk.play(bar("BTCUSDT", 3, 100_000))
    assert desk.vetoes() == [mode]
    desk.controls.set("run", "", by="me", now_ms=desk.clock.now_ms())
    desk.strategies = (Script({4: "LONG"}),)
    desk.start()
    desk.play(bar("BTCUSDT", 4, 100_000))
    assert len(desk.paper.open_orders()) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"mode": "ru', ""),  # half written
        ('{"mode": "kill", "mode": "run"}', "it names mode twice"),  # a hand forgot the older line
        (
            '{"mode": "run", "disabled": {"LTCUSDT": {"reason": "x"},'
            ' "LTCUSDT": {"reason": "x", "until_ms": 1}}}',
            "it names LTCUSDT twice",
        ),
    ],
)
def test_unreadable_controls_count_as_kill(tmp_path: Path, text: str, why: str) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "controls.json").write_text(text)
    desk.play(bar("BTCUSDT", 0, 100_000))
    assert desk.vetoes() == ["kill"]
    told = desk.lines("risk_vetoes")[0]["original_reason"]
    assert "cannot be read" in told
    assert why in told


def test_reduce_only_closes_and_opens_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 2: "NOOP", 4: "LONG"}, wants_maker=False))
    desk.play(bar("BTCUSDT", 0, 100_000), bar("BTCUSDT", 1, 100_000))
    assert desk.position > 0
    desk.controls.set("reduce_only", "test", by="me", now_ms=desk.clock.now_ms())
    desk.play(*[bar("BTCUSDT", n, 100_000) for n in range(2, 7)])
    assert desk.position == 0
    assert desk.vetoes() == ["reduce_only"]


def test_drawdown_of_open_positions_reduces_then_halts_until_resumed(tmp_path: Path) -> None:
    script = Script({0: "LONG", 3: "NOOP", 5: "LONG", 9: "LONG", 11: "LONG"}, wants_maker=False)
    desk = Desk(
        tmp_path, script, gross_target_usd=10_000, max_order_usd=20_000, max_symbol_pct=200,
        max_move_pct=50,
    )  # fmt: skip
    desk.play(bar("BTCUSDT", 0, 100_000), bar("BTCUSDT", 1, 100_000))
    assert desk.position == pytest.approx(0.099, abs=0.002)
    desk.play(bar("BTCUSDT", 2, 96_500))  # 3.5 % of equity, unrealised -> only reduce
    assert desk.engine.executor.guard.drawdown_pct == pytest.approx(-3.5, abs=0.15)
    desk.play(*[bar("BTCUSDT", n, 96_500) for n in (3, 4, 5, 6)])
    assert desk.position == 0
    assert desk.vetoes() == ["drawdown"]
    assert desk.controls.state().mode == "run"
    desk.paper.cash_usd -= 200.0  # now over 5 % -> halt
    desk.play(bar("BTCUSDT", 7, 96_500))
    assert desk.controls.state().mode == "halt"
    assert (
        "high-water mark" in desk.controls.state().reason or "peak" in desk.controls.state().reason
    )
    desk.start()
    desk.play(bar("BTCUSDT", 8, 96_500), bar("BTCUSDT", 9, 96_500))
    assert desk.vetoes() == ["drawdown", "halt"]
    desk.controls.set("run", "seen", by="me", now_ms=desk.clock.now_ms())
    desk.play(bar("BTCUSDT", 10, 96_500), bar("BTCUSDT", 11, 96_500), bar("BTCUSDT", 12, 96_500))
    assert desk.position > 0  # measured anew from the resume


def test_halt_that_cannot_be_written_stands_all_the_same(tmp_path: Path) -> None:
    in_the_way = tmp_path / "control" / "controls.tmp"
    in_the_way.mkdir(parents=True)
    controls = Controls(tmp_path / "control")
    assert controls.halt("a loss", now_ms=START_MS).mode == "halt"
    in_the_way.rmdir()
    assert controls.state().reason == "a loss"
    controls.set("run", "seen", by="me", now_ms=START_MS + 1)
    assert controls.state().mode == "run"


def test_high_water_mark_survives_a_kill_of_the_process(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({}))
    desk.play(bar("BTCUSDT", 0, 100_000), bar("BTCUSDT", 1, 100_000))
    desk.paper.cash_usd *= 0.96
    desk.start()  # nobody closed the one before
    desk.play(bar("BTCUSDT", 2, 100_000))
    assert desk.engine.executor.guard.drawdown_pct == pytest.approx(-4.0)


def test_orders_are_counted_across_a_restart(tmp_path: Path) -> None:
    says: dict[int, Any] = {n: ("LONG", "SHORT")[n % 2] for n in range(12)}
    desk = Desk(tmp_path, Script(says, wants_maker=False), max_orders_minute=100, max_orders_hour=9)
    for n in range(12):
        desk.play(bar("BTCUSDT", n, 100_000))
        desk.start()
    assert len(desk.orders("order_ack")) >= 9
    assert "orders_hour" in desk.vetoes()


def test_price_far_from_the_last_bar_is_refused_until_a_bar_confirms_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 1: "LONG"}, wants_maker=False))

    class Wick:
        """A venue whose book jumps away for a moment."""

        def __getattr__(self, name: str) -> Any:
            return getattr(desk.paper, name)

        def quote(self, symbol: str) -> Quote:
            return Quote(symbol, desk.clock.now_ms(), 104_000.0, 104_010.0)

    desk.venue = Wick()
    desk.start()
    desk.play(bar("BTCUSDT", 0, 100_000))
    assert desk.vetoes() == ["price_band"]
    desk.play(bar("BTCUSDT", 1, 104_000), bar("BTCUSDT", 2, 104_000))
    assert desk.position > 0


@pytest.mark.parametrize(("skew_ms", "vetoes"), [(900, []), (2_000, ["clock_offset"])])
def test_clock_that_is_a_second_off_opens_nothing(
    tmp_path: Path, skew_ms: int, vetoes: list[str]
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    desk.clock.skew_ms = skew_ms
    desk.play(bar("BTCUSDT", 0, 100_000))
    assert desk.vetoes() == vetoes


def test_a_resume_counts_once_whatever_kills_the_process_after_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({}))
    desk.play(bar("BTCUSDT", 0, 100_000))
    desk.controls.set("run", "seen", by="me", now_ms=desk.clock.now_ms())
    desk.play(bar("BTCUSDT", 1, 100_000), bar("BTCUSDT", 2, 100_000))
    desk.paper.cash_usd = 0.96 * desk.paper.cash_usd - 400.0
    desk.paper._hold("BTCUSDT", "BOTH", 0.004, 100_000.0)  # nobody took responsibility for it
    desk.start()  # nobody closed the one before
    desk.play(bar("BTCUSDT", 3, 100_000))
    assert desk.engine.executor.guard.drawdown_pct == pytest.approx(-4.0)
    assert "0.004 at the venue, 0 here" in desk.engine.executor.summary()


def test_a_resume_of_before_the_state_adopts_nothing(tmp_path: Path) -> None:
    Controls(tmp_path / "control").set("run", "long ago", by="me", now_ms=START_MS - 1)
    desk = Desk(tmp_path, Script({}))
    desk.play(bar("BTCUSDT", 0, 100_000))
    desk.paper._hold("BTCUSDT", "BOTH", 0.004, 100_000.0)
    shutil.rmtree(tmp_path / "state")
    desk.start()
    desk.play(bar("BTCUSDT", 1, 100_000))
    assert "0.004 at the venue, 0 here" in desk.engine.executor.summary()
    desk.controls.set("run", "mine", by="me", now_ms=desk.clock.now_ms())
    desk.play(bar("BTCUSDT", 2, 100_000))
    assert desk.engine.executor.is_reconciled


def test_a_position_without_a_mark_yet_counts_at_its_entry_price(tmp_path: Path) -> None:
    eth = Script({0: "LONG"}, "eth", wants_maker=False, symbol="ETHUSDT")
    btc = Script({2: "LONG"}, "btc", wants_maker=False)
    desk = Desk(tmp_path, eth, btc, gross_target_usd=3_000, max_order_usd=4_000, max_gross_pct=50)
    desk.play(bar("ETHUSDT", 0, 4_000), bar("ETHUSDT", 1, 4_000))
    assert desk.position > 0
    desk.start()  # and no bar of ETHUSDT comes any more
    desk.play(bar("BTCUSDT", 2, 100_000))
    assert desk.vetoes() == ["gross_cap"]
    (line,) = [x for x in desk.lines("orders_attempted") if x["symbol"] == "BTCUSDT"]
    assert "ETHUSDT" in json.dumps(line)


def test_kill_cancels_the_others_where_one_cannot_be_cancelled(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({}))
    desk.play(bar("BTCUSDT", 0, 100_000))
    for name in ("a", "b"):
        desk.paper.create(
            NewOrder(name, "BTCUSDT", "BUY", "post_only", 0.001, 90_000.0, False, "BOTH")
        )

    class Stubborn:
        """A venue that does not answer when one order is to be cancelled."""

        def __getattr__(self, name: str) -> Any:
            return getattr(desk.paper, name)

        def cancel(self, symbol: str, client_id: str) -> None:
            if client_id == "a":
                raise RetryError("no answer")
            desk.paper.cancel(symbol, client_id)

    desk.venue = Stubborn()
    desk.start()
    desk.controls.set("kill", "a test", by="me", now_ms=desk.clock.now_ms())
    desk.play(bar("BTCUSDT", 1, 100_000), bar("BTCUSDT", 2, 100_000))
    assert [order.client_id for order in desk.paper.open_orders()] == ["a"]
