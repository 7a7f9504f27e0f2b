"""Generated prediction traces of an intraday and a swing strategy, for pages that need some.

Put here: an example whose truth is known. Keep out: the demonstration's logs (generate.py).
"""

import datetime as dt
import random
from pathlib import Path

from live.telemetry import COLUMNS, PredictionTrace, csv_line, market_direction

_HEADER = ",".join(COLUMNS) + "\n"
# Trades a day, minutes held, deviation of a move, drift in the predicted direction: fractions.
_SHAPES = {"intraday": (9, 75, 0.006, 0.0008), "swing": (2, 1440, 0.02, 0.0015)}
_THRESHOLDS = {"intraday": 0.003, "swing": 0.005}


def write_example_traces(folder: Path, *, days: int = 60, seed: int = 7) -> Path:
    """Write traces_intraday_0.csv and traces_swing_0.csv below ``folder``; returns it.

    Trades of one day share its market; confidence says a little more than it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for strategy, (a_day, minutes, deviation, drift) in _SHAPES.items():
        dice = random.Random(f"{seed} {strategy}")
        lines = [_HEADER.encode()]
        for day in range(days):
            market = dice.gauss(0, deviation / 2)
            for _ in range(a_day):
                confidence = dice.uniform(0.4, 0.95)
                direction = dice.choice(("LONG", "SHORT"))
                sign = 1 if direction == "LONG" else -1
                move = market + dice.gauss(0, deviation) + sign * drift * confidence / 0.7
                entry = 100 * (1 + dice.random())
                begin = dt.datetime(2025, 9, 1, tzinfo=dt.UTC) + dt.timedelta(
                    days=day, minutes=dice.randrange(0, 1200)
                )
                trace = PredictionTrace(
                    timestamp=begin,
                    symbol=dice.choice(("BTCUSDT", "ETHUSDT", "SOLUSDT")),
                    strategy=strategy,
                    predicted_direction="LONG" if sign > 0 else "SHORT",
                    actual_direction=market_direction(
                        entry, entry * (1 + move), _THRESHOLDS[strategy]
                    ),
                    predicted_confidence=round(confidence, 3),
                    entry_price=entry,
                    exit_price=entry * (1 + move),
                    holding_period_minutes=float(max(1, round(dice.gauss(minutes, minutes / 5)))),
                    realized_return_pct=100 * sign * move,
                )
                lines.append(csv_line(trace))
        (folder / f"traces_{strategy}_0.csv").write_bytes(b"".join(lines))
    return folder
