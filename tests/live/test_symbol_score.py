"""Symbol score and size factor of v5.10: worked cases, each threshold, unknown inputs."""

from collections.abc import Callable
from typing import Any

import pytest

from live.intel import compute_symbol_score, score_to_size_factor, symbol_size_factor

Replace = Callable[..., None]
NEUTRAL = {"maker_fill_ratio": 0.5, "fallback_ratio": 0.5, "slip_q50": 5.0}


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Replace the measurements that a score asks, as tests of v5.10 do."""

    def put(
        sharpe: float | None = 0.0,
        atr: tuple[float, float] = (1.0, 1.0),
        router: dict[str, Any] = NEUTRAL,
        dd: float | None = 0.0,
    ) -> None:
        monkeypatch.setattr("live.intel.rolling_sharpe_7d", lambda symbol: sharpe)
        monkeypatch.setattr(
            "live.intel.atr_pct",
            lambda symbol, lookback_bars=50: atr[0] if lookback_bars == 50 else atr[1],
        )
        monkeypatch.setattr("live.intel.router_effectiveness_7d", lambda symbol: router)
        monkeypatch.setattr("live.intel.dd_today_pct", lambda symbol: dd)

    return put


def test_score_is_the_sum_of_its_parts(replace: Replace) -> None:
    replace(
        sharpe=2.0,
        atr=(1.0, 1.0),
        router={"maker_fill_ratio": 0.7, "fallback_ratio": 0.2, "slip_q50": 2.0},
        dd=-0.5,
    )

    answer = compute_symbol_score("BTCUSDC")

    assert answer["symbol"] == "BTCUSDC"
    assert answer["score"] == pytest.approx(1.0 + 0.1 + 0.1 + 0.0)
    parts = {
        "sharpe": 2.0,
        "sharpe_score": 1.0,
        "atr_ratio": 1.0,
        "atr_score": 0.1,
        "router_score": pytest.approx(0.1),
        "dd_pct": -0.5,
        "dd_score": 0.0,
    }
    assert {name: answer["components"][name] for name in parts} == parts
    assert answer["missing"] == []


@pytest.mark.parametrize(
    ("sharpe", "score"),
    [
        (-3.0, -1.0),
        (-1.0, -1.0),
        (-0.99, -0.495),
        (0.0, 0.0),
        (1.0, 0.5),
        (1.99, 0.995),
        (2.0, 1.0),
        (5.0, 1.0),
    ],
)
def test_sharpe_scores_half_of_itself_between_its_bounds(
    replace: Replace, sharpe: float, score: float
) -> None:
    replace(sharpe=sharpe)
    assert compute_symbol_score("BTCUSDC")["components"]["sharpe_score"] == pytest.approx(score)


@pytest.mark.parametrize(
    ("ratio", "score"),
    [
        (0.49, -0.2),
        (0.5, 0.0),
        (0.79, 0.0),
        (0.8, 0.1),
        (1.5, 0.1),
        (1.51, 0.0),
        (2.5, 0.0),
        (2.51, -0.3),
    ],
)
def test_volatility_scores_by_its_ratio(replace: Replace, ratio: float, score: float) -> None:
    replace(atr=(ratio, 1.0))
    assert compute_symbol_score("BTCUSDC")["components"]["atr_score"] == score


@pytest.mark.parametrize(
    ("router", "score"),
    [
        ({"maker_fill_ratio": 1.0}, 0.25),
        ({"maker_fill_ratio": 0.0}, -0.25),
        ({"fallback_ratio": 0.9}, -0.4),
        ({"fallback_ratio": 0.1}, 0.0),
        ({"slip_q50": 5.01}, -0.3),
        ({"maker_fill_ratio": None}, 0.0),  # unknown is not 0 % maker fills
        ({"fallback_ratio": None, "slip_q50": None}, 0.0),
    ],
)
def test_router_scores_by_its_three_terms(
    replace: Replace, router: dict[str, Any], score: float
) -> None:
    replace(router={**NEUTRAL, **router})
    assert compute_symbol_score("BTCUSDC")["components"]["router_score"] == pytest.approx(score)


@pytest.mark.parametrize(
    ("dd", "score"),
    [
        (-4.0, -0.5),
        (-3.0, -0.5),
        (-2.99, -0.25),
        (-1.5, -0.25),
        (-1.49, 0.0),
        (0.0, 0.0),
        (0.5, 0.1),
    ],
)
def test_drawdown_scores_in_steps(replace: Replace, dd: float, score: float) -> None:
    replace(dd=dd)
    assert compute_symbol_score("BTCUSDC")["components"]["dd_score"] == score


def test_unknown_inputs_score_nothing_and_are_named(replace: Replace) -> None:
    replace(sharpe=None, atr=(0.0, 0.0), router={"slip_q50": 2.0}, dd=None)

    answer = compute_symbol_score("BTCUSDC")

    assert answer["score"] == 0.0
    assert answer["components"]["sharpe"] == 0.0  # the v5.10 shape has a number here
    assert answer["components"]["atr_ratio"] is None
    assert answer["missing"] == [
        "sharpe",
        "atr_ratio",
        "maker_fill_ratio",
        "fallback_ratio",
        "dd_pct",
    ]
    assert answer["coverage"] == 0.0


@pytest.mark.parametrize(
    ("score", "factor"),
    [
        (-9.0, 0.5),
        (-1.0, 0.5),
        (-0.99, 0.703),
        (0.0, 1.0),
        (1.0, 1.3),
        (1.49, 1.447),
        (1.5, 1.5),
        (9.0, 1.5),
    ],
)
def test_size_factor_of_a_score(score: float, factor: float) -> None:
    assert score_to_size_factor(score) == pytest.approx(factor)


def test_size_factor_never_falls_with_a_better_score() -> None:
    factors = [score_to_size_factor(score / 100) for score in range(-200, 201)]
    assert factors == sorted(factors)
    assert 0.25 <= factors[0] < 1.0 < factors[-1] <= 2.0


def test_symbol_size_factor_wraps_score_and_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "live.intel.compute_symbol_score",
        lambda symbol: {"symbol": symbol, "score": 2.0, "components": {"sharpe": 3.0}},
    )

    answer = symbol_size_factor("BTCUSDC")

    assert (answer["symbol"], answer["score"], answer["size_factor"]) == ("BTCUSDC", 2.0, 1.5)
    assert answer["components"] == {"sharpe": 3.0}


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_score_that_is_no_number_never_enlarges(
    monkeypatch: pytest.MonkeyPatch, score: float | None
) -> None:
    monkeypatch.setattr(
        "live.intel.compute_symbol_score", lambda symbol: {"symbol": symbol, "score": score}
    )
    answer = symbol_size_factor("BTCUSDC")
    assert answer["score"] == 0.0
    assert answer["size_factor"] == 0.5  # as for an unknown symbol
    assert answer["components"] == {}
