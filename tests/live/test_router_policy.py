"""Router quality and policy of v5.10 at each threshold, and what unknown inputs may not do."""

import pytest

from live import intel
from live.intel import RouterPolicy, classify_router_quality, router_policy


def effectiveness(
    maker: float | None, fallback: float | None, slip: float | None, **n: int
) -> dict[str, float | None]:
    return {"maker_fill_ratio": maker, "fallback_ratio": fallback, "slip_q50": slip, **n}


@pytest.mark.parametrize(
    ("maker", "fallback", "slip", "quality"),
    [
        (0.8, 0.2, 2.0, "good"),
        (0.5, 0.3, 5.0, "ok"),
        (0.4, 0.7, 6.0, "degraded"),
        (0.2, 0.95, 25.0, "broken"),
        (0.7, 0.4, 4.0, "good"),  # every bound of good reached -> still good
        (0.69, 0.4, 4.0, "ok"),
        (0.7, 0.41, 4.0, "ok"),
        (0.7, 0.4, 4.01, "ok"),
        (0.9, 0.59, 1.0, "ok"),
        (0.9, 0.6, 1.0, "degraded"),
        (0.9, 0.1, 7.99, "ok"),
        (0.9, 0.1, 8.0, "degraded"),
        (0.9, 0.89, 1.0, "degraded"),
        (0.9, 0.9, 1.0, "broken"),
        (0.9, 0.1, 19.99, "degraded"),
        (0.9, 0.1, 20.0, "broken"),
    ],
)
def test_quality_follows_the_v510_thresholds(
    maker: float, fallback: float, slip: float, quality: str
) -> None:
    assert classify_router_quality(effectiveness(maker, fallback, slip)) == quality


@pytest.mark.parametrize(
    ("stats", "quality"),
    [
        ({}, "unknown"),
        (effectiveness(None, None, None), "unknown"),
        (effectiveness(0.9, None, 1.0), "ok"),  # an unknown ratio proves nothing -> not good
        (effectiveness(0.9, 0.1, None), "ok"),
        (effectiveness(None, 0.1, 1.0), "ok"),
        (effectiveness(None, 0.95, None), "broken"),  # what is known may condemn
        (effectiveness(float("nan"), float("inf"), None), "unknown"),  # no number is no knowledge
        (effectiveness(0.9, 0.1, 1.0, maker_known_n=19, fallback_known_n=20, slip_n=20), "ok"),
        (effectiveness(0.9, 0.1, 1.0, maker_known_n=20, fallback_known_n=19, slip_n=20), "ok"),
        (effectiveness(0.9, 0.1, 1.0, maker_known_n=20, fallback_known_n=20, slip_n=19), "ok"),
        (effectiveness(0.9, 0.1, 1.0, maker_known_n=20, fallback_known_n=20, slip_n=20), "good"),
        (effectiveness(0.1, 0.95, 1.0, maker_known_n=1, fallback_known_n=1, slip_n=1), "broken"),
    ],
)
def test_few_or_unknown_samples_may_demote_a_router_and_never_promote_it(
    stats: dict[str, float | None], quality: str
) -> None:
    assert classify_router_quality(stats) == quality


@pytest.mark.parametrize(
    ("stats", "regime", "maker_first", "taker_bias"),
    [
        (effectiveness(0.8, 0.2, 2.0), "normal", True, "prefer_maker"),
        (effectiveness(0.2, 0.95, 30.0), "normal", False, "prefer_taker"),
        (effectiveness(0.4, 0.7, 6.0), "normal", True, "prefer_taker"),
        (effectiveness(0.5, 0.3, 5.0), "normal", True, "balanced"),
        (effectiveness(0.8, 0.2, 2.0), "panic", True, "prefer_taker"),
        (effectiveness(0.5, 0.3, 5.0), "panic", True, "prefer_taker"),
        (effectiveness(0.4, 0.7, 6.0), "panic", False, "prefer_taker"),
        (effectiveness(0.2, 0.95, 30.0), "panic", False, "prefer_taker"),
        (effectiveness(None, None, None), "normal", None, "balanced"),  # the strategy decides
        (effectiveness(None, None, None), "panic", None, "prefer_taker"),
        (effectiveness(0.8, 0.2, 2.0), "unknown", True, "prefer_maker"),
    ],
)
def test_policy_follows_quality_and_regime(
    monkeypatch: pytest.MonkeyPatch,
    stats: dict[str, float | None],
    regime: str,
    maker_first: bool | None,
    taker_bias: str,
) -> None:
    monkeypatch.setattr("live.intel.router_effectiveness_7d", lambda symbol: stats)
    monkeypatch.setattr("live.intel.classify_atr_regime", lambda symbol: regime)

    policy = router_policy("BTCUSDC")

    assert isinstance(policy, RouterPolicy)
    assert (policy.maker_first, policy.taker_bias) == (maker_first, taker_bias)
    assert policy.quality == intel.classify_router_quality(stats)
    assert policy.reason.startswith(f"quality={policy.quality}; regime={regime}")
