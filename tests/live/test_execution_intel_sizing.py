"""size_for: the v5.10 stack for a caller's own factors, else the snapshot's guarded factor."""

import pytest

from live.intel import size_for


def replace_stack(
    monkeypatch: pytest.MonkeyPatch, inverse_vol: float, regime: float, sharpe: float, intel: float
) -> None:
    monkeypatch.setattr(
        "live.intel.inverse_vol_size", lambda symbol, base_size: base_size * inverse_vol
    )
    monkeypatch.setattr("live.intel.volatility_regime_scale", lambda symbol: regime)
    monkeypatch.setattr("live.intel.size_multiplier", lambda symbol: sharpe)
    monkeypatch.setattr(
        "live.intel.symbol_size_factor",
        lambda symbol: {"symbol": symbol, "score": 0.0, "size_factor": intel, "components": {}},
    )


@pytest.mark.parametrize(
    ("inverse_vol", "regime", "sharpe", "intel", "size"),
    [
        (1.0, 1.0, 1.0, 0.5, 50.0),
        (1.0, 1.0, 1.0, 1.5, 150.0),
        (0.5, 2.0, 1.2, 0.8, 96.0),
        (1.0, 0.25, 1.0, 1.0, 25.0),
    ],
)
def test_size_is_the_target_times_every_factor(
    monkeypatch: pytest.MonkeyPatch,
    inverse_vol: float,
    regime: float,
    sharpe: float,
    intel: float,
    size: float,
) -> None:
    replace_stack(monkeypatch, inverse_vol, regime, sharpe, intel)
    assert size_for("BTCUSDC", gross_target=100.0) == size
    assert size_for("BTCUSDC", -100.0) == -size
