"""Hourly expectancy and best hours of v5.10: sums by UTC hour, and which hours count as good."""

from typing import Any

import pytest

from live.intel import best_hours, hourly_expectancy

EVENTS = [
    # 22:40 UTC twice, 23:40 UTC once
    {
        "symbol": "BTCUSDC",
        "ts": 1707345600,
        "realized_pnl": 10.0,
        "notional": 1000.0,
        "slippage_bps": 1.0,
    },
    {
        "symbol": "BTCUSDC",
        "ts": 1707345600,
        "realized_pnl": -5.0,
        "notional": 500.0,
        "slippage_bps": 2.0,
    },
    {
        "symbol": "BTCUSDC",
        "ts": 1707349200,
        "realized_pnl": 2.0,
        "notional": 200.0,
        "slippage_bps": 0.5,
    },
]


def replace_events(monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(
        "live.intel.get_recent_router_events", lambda symbol=None, window_days=7: events
    )


def test_events_are_summed_by_their_utc_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_events(monkeypatch, EVENTS)

    hours = hourly_expectancy("BTCUSDC")

    assert sum(row["count"] for row in hours.values()) == 3
    assert sorted(hours) == [22, 23]
    assert hours[22] == {
        "count": 2,
        "exp_per_notional": pytest.approx(5 / 1500),
        "slip_bps_avg": 1.5,
    }
    assert hours[23] == {"count": 1, "exp_per_notional": pytest.approx(0.01), "slip_bps_avg": 0.5}


@pytest.mark.parametrize(
    ("event", "row"),
    [
        # no notional -> no expectancy; no slippage -> no mean
        ({"realized_pnl": 3.0}, {"count": 1, "exp_per_notional": None, "slip_bps_avg": None}),
        # traded and closed nothing -> earned 0
        ({"notional": 10.0}, {"count": 1, "exp_per_notional": 0.0, "slip_bps_avg": None}),
        # slippage of 0 is a measurement
        ({"slippage_bps": 0.0}, {"count": 1, "exp_per_notional": None, "slip_bps_avg": 0.0}),
        (
            {"slippage_bps": float("nan")},
            {"count": 1, "exp_per_notional": None, "slip_bps_avg": None},
        ),
    ],
)
def test_unknown_stays_unknown(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], row: dict[str, Any]
) -> None:
    replace_events(monkeypatch, [{"ts": 1707345600, **event}])
    assert hourly_expectancy("BTCUSDC") == {22: row}


def test_an_event_without_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_events(monkeypatch, [{"realized_pnl": 1.0}, EVENTS[2]])
    assert list(hourly_expectancy("BTCUSDC")) == [23]


def test_best_hours_need_trades_and_expectancy(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        9: (10, -0.001),  # too few and a loss -> no
        10: (25, 0.002),
        11: (19, 0.002),  # one short -> no
        12: (20, 0.0),  # both bounds reached -> yes
        13: (20, -1e-9),
        14: (99, None),  # unknown -> no
        3: (20, 0.5),
    }
    monkeypatch.setattr(
        "live.intel.hourly_expectancy",
        lambda symbol=None: {
            hour: {"count": count, "exp_per_notional": value, "slip_bps_avg": 1.0}
            for hour, (count, value) in rows.items()
        },
    )
    assert best_hours("BTCUSDC", min_trades=20, min_expectancy=0.0) == [3, 10, 12]
    assert best_hours("BTCUSDC") == [3, 10, 12]
    assert best_hours("BTCUSDC", min_trades=19, min_expectancy=0.002) == [3, 10, 11]
