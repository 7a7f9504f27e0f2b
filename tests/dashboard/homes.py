"""Data roots for the pages: the real logs with bars and generated traces, published twice.

Put here: making a root, once a test run. Keep out: the browser, what a page says of it.
"""

import csv
import gzip
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from features.settings import Settings
from features.snapshot import Store
from pipelines.refresh import refresh
from tests.live import files
from tests.test_real_intel import BARS_END
from tests.test_real_logs import DAY_END, at

FIRST, SECOND = "2025-11-05T12:00:00Z", DAY_END
_BAR_DAYS = 6  # 500 bars of 15 minutes and more
_SYMBOLS = ("LINKUSDT", "LTCUSDT", "SUIUSDT", "WIFUSDT")
_PRECISION = {"intraday": 0.45, "swing": 0.6}  # the first below the alert's threshold


def real(router_logs: Path, bars_1m: Path, root: Path) -> Settings:
    """Read the recorded run into a new root and publish it as of FIRST and SECOND."""
    recent_bars(bars_1m, root / "bars")
    write_traces(root / "traces")
    logs = [
        {"path": folder, "environment": "testnet"}
        for folder in (router_logs, root / "bars", root / "traces")
    ]
    settings = Settings.model_validate(
        {"home": root / "home", "environment": "testnet", "logs": logs}
    )
    for moment in (FIRST, SECOND):
        report = refresh(settings, as_of_ms=at(moment))
        assert report.outcome == "published", report
    return settings


def recent_bars(folder: Path, into: Path) -> None:
    """Write the last days of minute bars again so that they end with the logs."""
    into.mkdir()
    by_ms = at(DAY_END) - at(BARS_END)
    since_ms = at(BARS_END) - _BAR_DAYS * 86_400_000
    for path in sorted(folder.glob("*_1m.csv.gz")):
        with gzip.open(path, "rt", newline="") as source, (into / path.stem).open("w") as target:
            target.write(next(source))
            for line in source:
                date, _, rest = line.partition(",")
                open_ms = at(date)
                if open_ms >= since_ms:
                    moved = datetime.fromtimestamp((open_ms + by_ms) / 1000, tz=UTC)
                    target.write(f"{moved.isoformat(sep=' ')},{rest}")


def write_traces(into: Path, *, trades: int = 150, names: Mapping[str, str] | None = None) -> None:
    """Write the last 30 days of predictions of two strategies, the same at every call.

    ``names`` are other names for them, in the lines.
    """
    into.mkdir(exist_ok=True)
    for strategy, precision in _PRECISION.items():
        with (into / f"traces_{strategy}_0.csv").open("w", newline="") as file:
            rows = list(_traces(strategy, precision, trades))
            for row in rows:
                row["strategy"] = (names or {}).get(strategy, strategy)
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _traces(strategy: str, precision: float, trades: int) -> Iterator[dict[str, object]]:
    dice = random.Random(strategy)
    end_s, minutes = at(FIRST) / 1000, 45 if strategy == "intraday" else 600
    for n in range(trades):
        predicted = dice.choice(("LONG", "SHORT"))
        is_right = dice.random() < precision
        move = abs(dice.gauss(0.012, 0.004)) * (1 if (predicted == "LONG") == is_right else -1)
        entry = 100 + dice.random()
        opened_s = end_s - 29 * 86_400 * (trades - n) / trades - minutes * 60
        yield {
            "timestamp": datetime.fromtimestamp(opened_s, tz=UTC).isoformat(),
            "symbol": _SYMBOLS[n % len(_SYMBOLS)],
            "strategy": strategy,
            "predicted_direction": predicted,
            "actual_direction": "LONG" if move > 0 else "SHORT",
            "predicted_confidence": round(dice.uniform(0.4, 0.9), 3),
            "entry_price": round(entry, 6),
            "exit_price": round(entry * (1 + move), 6),
            "holding_period_minutes": minutes,
            "realized_return_pct": round(100 * move * (1 if predicted == "LONG" else -1), 6),
            "features_json": "{}",
            "metadata_json": json.dumps({"n": n}),
        }


# What a log may hold: markup of three kinds, an address to be fetched, a steering character, a
# text that is longer than any page.
SCRIPT = '<img src="http://evil.example/i" onerror="window.hit=1"><script>window.hit=2</script>'
MARKDOWN = (
    "**loud** [here](http://evil.example/a) ![i](http://evil.example/b.png) :red[c] $x^2$ `y`"
)
EMOJI = "🚀\u202e\x1b[31m:material/home: 名前"
LONG = "A" * 10_000
_FOREIGN = {"WIFUSDT": SCRIPT, "SUIUSDT": MARKDOWN, "LTCUSDT": EMOJI, "LINKUSDT": LONG}
_LAST_LINES = 120  # of each log: the last hours


def hostile(router_logs: Path, root: Path) -> Settings:
    """Publish the last recorded hours with such texts as symbols, reasons, strategies, account."""
    logs = root / "logs"
    logs.mkdir(parents=True)
    for path in sorted(router_logs.glob("*.jsonl")):
        lines = path.read_text().splitlines()[-_LAST_LINES:]
        (logs / path.name).write_text("".join(f"{_foreign(line)}\n" for line in lines))
    with (logs / "orders_executed.jsonl").open("a") as file:
        file.write(f"{SCRIPT} {MARKDOWN}\n{LONG}\n")  # no JSON: both are quarantined
    write_traces(logs / "traces", trades=80, names={"intraday": SCRIPT, "swing": MARKDOWN})
    folder = {"path": logs, "environment": "testnet", "account": MARKDOWN}
    settings = Settings.model_validate(
        {"home": root / "home", "environment": "testnet", "logs": [folder]}
    )
    report = refresh(settings, as_of_ms=at(DAY_END))
    assert report.outcome == "published", report
    return settings


def _foreign(line: str) -> str:
    for symbol, text in _FOREIGN.items():
        line = line.replace(f'"{symbol}"', json.dumps(text))
    return line.replace('"leverage_exceeded"', json.dumps(SCRIPT))


def rename(store: Store, old: str, new: str) -> None:
    """Copy a snapshot under another id, its lines for engines with it."""
    shutil.copytree(store.path(old), store.path(new))
    texts = (store.path(old) / "live.jsonl").read_text("utf-8").splitlines()
    header, *lines = [json.loads(text) for text in texts]
    named = {name: header[name] for name in ("as_of_ms", "environment", "account", "window_days")}
    data = files.snapshot_bytes(new, [{**line, "snapshot_id": new} for line in lines], **named)
    (store.path(new) / "live.jsonl").write_bytes(data)
    manifest = store.manifest(old) | {"snapshot_id": new}
    (store.path(new) / "manifest.json").write_text(json.dumps(manifest))
