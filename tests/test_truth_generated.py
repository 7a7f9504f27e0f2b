"""Where the truth is known: a log that tells all, and what is left out of it, found and sized.

Put here: generated logs through whole refreshes. Keep out: rules on literal rows.
"""

import json
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from features.settings import Settings
from pipelines.cli import app
from pipelines.demo import generate
from pipelines.refresh import refresh
from tests.truth import HOUR_MS, Line, Log, at_ms, signed, write_income, write_trades

Row = dict[str, Any]

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "SUIUSDT")
FUNDING_USD = -3.21
CLOSE = 1e-6


@dataclass(frozen=True)
class Told:
    """A log, and what a refresh made of it."""

    log: Log
    settings: Settings
    end_ms: int
    coverage: dict[str, Row]
    intervals: list[Row]
    sizes: dict[str, float]


def tell(log: Log, root: Path, end_ms: int, after: Path | None = None) -> Told:
    """Refresh over a log alone; ``after`` is a home whose newest snapshot was published before."""
    folder = log.write(root / "logs")
    settings = Settings(home=root / "home", log_dir=folder)
    if after is not None:
        shutil.copytree(after / "snapshots", settings.snapshots_root)
        end_ms += 1_000
    found = refresh(settings, as_of_ms=end_ms, now_ms=end_ms, publish=True)  # also fewer lines
    assert found.outcome == "published"
    assert found.snapshot_id is not None
    database = settings.snapshots_root / found.snapshot_id / "features.duckdb"
    with duckdb.connect(str(database), read_only=True) as con:
        coverage = con.sql("FROM feat_account__coverage").to_arrow_table().to_pylist()
        intervals = con.sql(
            "FROM core_position__reconciliation WHERE to_ms IS NOT NULL ORDER BY ALL"
        ).to_arrow_table()
        sizes = con.sql("SELECT symbol, final_size_factor FROM feat_symbol__sizing").fetchall()
    return Told(
        log, settings, end_ms, {x["day"]: x for x in coverage}, intervals.to_pylist(), dict(sizes)
    )


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = tmp_path_factory.mktemp("complete")
    truth = generate(root / "made", days=2, symbols=SYMBOLS, attempts_per_day=250, faults=False)
    return tell(Log.read(root / "made"), root / "told", truth.end_ms)


# ---------------------------------------------------------------------------- a log that tells all


def test_a_complete_log_explains_every_position_change(complete: Told) -> None:
    seen = [row for row in complete.intervals if row["position_side"] != "GROSS"]
    assert len(seen) > 300
    assert all(row["is_explained"] and row["cause"] is None for row in complete.intervals)
    assert max(abs(row["unexplained_qty"]) for row in seen) < CLOSE
    assert max(abs(row["pnl_missing_usd"]) for row in seen) < CLOSE


def test_a_complete_log_explains_nav_to_a_millionth(complete: Told) -> None:
    assert len(complete.coverage) == 3
    for day, row in complete.coverage.items():
        assert row["status"] == "complete", day
        assert row["coverage"] == pytest.approx(1.0, abs=CLOSE)
        assert row["unexplained_usd"] == pytest.approx(0.0, abs=CLOSE), day
        assert row["likely_cause"] is None


def test_coverage_repeats_the_sums_of_the_lines(complete: Told) -> None:
    row = complete.coverage["*"]
    closes = complete.log.of("order_close")
    assert row["close_n"] == len(closes)
    assert row["realized_pnl_usd"] == pytest.approx(sum(x["realizedPnlUsd"] for x in closes))
    fees = sum(x["fee_total"] for x in complete.log.fills())
    assert row["fees_usd"] == pytest.approx(fees, abs=CLOSE)
    navs = [x["nav_snapshot"]["nav_usd"] for x in complete.log.lines["orders_attempted"]]
    assert row["nav_change_usd"] == pytest.approx(navs[-1] - navs[0], abs=CLOSE)


# ------------------------------------------------------------------------ what was left out of it


@dataclass(frozen=True)
class Planted:
    """A damaged log as told, and what was done to it."""

    told: Told
    close: Line  # dropped
    foreign: Line  # the order_fill of an order of which every line was dropped
    twice: Line  # router line that stands again under another id
    unknown: Line  # order_fill of the order whose end was never logged
    hour: list[Line]  # order_fills of the hour that is missing
    hour_closes: list[Line]


@pytest.fixture(scope="module")
def planted(complete: Told, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    log, middle = complete.log.copy(), complete.end_ms - 24 * HOUR_MS
    hour_from = middle - 10 * HOUR_MS  # 14 UTC of the first day: the busiest

    def is_in_hour(line: Line) -> bool:
        return hour_from <= at_ms(line) < hour_from + HOUR_MS

    # Only where a symbol rests for some minutes, so that each omission stands alone.
    spoken = {"close_line": "", "foreign": "", "twice": "", "unknown": ""}
    by_id: dict[str, list[Line]] = defaultdict(list)
    for fill in log.fills():
        by_id[fill["attempt_id"]].append(fill)
    closing = {x["attempt_id"] for x in log.of("order_close")}
    early = [
        x
        for x in log.attempts()
        if at_ms(x) < hour_from - HOUR_MS and len(by_id[x["attempt_id"]]) == 1
    ]
    openings = [x for x in early if x["attempt_id"] not in closing]
    for name, symbol in zip(("foreign", "twice", "unknown"), SYMBOLS, strict=False):
        spoken[name] = next(x["attempt_id"] for x in openings[3:] if x["symbol"] == symbol)
    close = max(
        (x for x in log.of("order_close") if x["symbol"] == SYMBOLS[3] and at_ms(x) < hour_from),
        key=lambda x: abs(x["realizedPnlUsd"]),
    )
    foreign = by_id[spoken["foreign"]][0]
    unknown = by_id[spoken["unknown"]][0]
    twice = next(x for x in early if x["attempt_id"] == spoken["twice"])

    log.drop(lambda stem, x: x == close)
    log.drop(lambda stem, x: x.get("attempt_id") == spoken["foreign"])
    log.lines["order_metrics"].append({**twice, "attempt_id": "sig_twice"})
    log.drop(
        lambda stem, x: (
            x.get("attempt_id") == spoken["unknown"] and x.get("event_type") == "order_fill"
        )
    )
    for line in log.lines["order_metrics"]:
        if line.get("attempt_id") == spoken["unknown"]:
            line["result"]["status"], line["fees_usd"] = "NEW", None
            line["prices"]["avg_fill"] = line["qty"]["contracts"] = 0.0
    hour = log.drop(lambda stem, x: is_in_hour(x))
    for line in log.lines["orders_attempted"]:
        if at_ms(line) > middle + 5 * HOUR_MS:
            line["nav_snapshot"]["nav_usd"] += FUNDING_USD
    # Lines that stand twice as they are say nothing new.
    for stem in ("order_metrics", "orders_executed", "position_state"):
        log.lines[stem] += [json.loads(json.dumps(x)) for x in log.lines[stem][20:24]]
    log.lines["orders_executed"].append(log.of("order_close")[0])
    for stem in log.lines:
        log.lines[stem].sort(key=at_ms)
    root = tmp_path_factory.mktemp("planted")
    return Planted(
        tell(log, root, complete.end_ms), close, foreign, twice, unknown, hour.fills(),
        hour.of("order_close"),
    )  # fmt: skip


def found(planted: Planted, line: Line) -> Row:
    """Return the interval in which an order filled."""
    ms = at_ms({"ts": line.get("ts_fill_last") or line.get("ts_close") or line["ts"]})
    (row,) = [
        row
        for row in planted.told.intervals
        if row["symbol"] == line["symbol"]
        and row["position_side"] != "GROSS"
        and row["from_ms"] < ms <= row["to_ms"]
        and row["cause"] is not None
    ]
    return row


def test_a_dropped_close_line_is_found_named_and_sized(planted: Planted) -> None:
    row = found(planted, planted.close)
    assert row["cause"] == "close_line_missing"
    assert row["pnl_missing_usd"] == pytest.approx(planted.close["realizedPnlUsd"], abs=CLOSE)


def test_a_foreign_trade_is_found_named_and_sized(planted: Planted) -> None:
    row = found(planted, planted.foreign)
    assert row["cause"] == "trade_outside_log"
    assert row["unexplained_qty"] == pytest.approx(signed(planted.foreign), abs=CLOSE)


def test_a_line_doubled_under_another_id_is_found_named_and_sized(planted: Planted) -> None:
    row = found(planted, planted.twice)
    assert row["cause"] == "fill_not_in_position"
    qty = planted.twice["qty"]["contracts"]
    assert abs(row["unexplained_qty"]) == pytest.approx(qty, abs=CLOSE)
    assert row["fill_n"] == 2


def test_an_order_never_polled_is_found_named_and_sized(planted: Planted) -> None:
    row = found(planted, planted.unknown)
    assert (row["cause"], row["inferred_fill_n"]) == ("unknown_order", 1)
    assert row["unexplained_qty"] == pytest.approx(signed(planted.unknown), abs=CLOSE)


def test_a_missing_hour_is_found_named_and_sized(planted: Planted) -> None:
    expected: dict[tuple[str, str], float] = defaultdict(float)
    for fill in planted.hour:
        expected[fill["symbol"], fill["positionSide"]] += signed(fill)
    expected = {key: qty for key, qty in expected.items() if abs(qty) > CLOSE}
    rows = [x for x in planted.told.intervals if x["cause"] == "silent_log"]
    sized = {(x["symbol"], x["position_side"]): x["unexplained_qty"] for x in rows}
    assert len(expected) > 2
    assert sized == pytest.approx(expected, abs=CLOSE)


def test_nothing_else_is_blamed(planted: Planted) -> None:
    causes = [x["cause"] for x in planted.told.intervals if x["cause"] is not None]
    once = ["close_line_missing", "fill_not_in_position", "trade_outside_log", "unknown_order"]
    assert sorted(set(causes) - {"silent_log"}) == once
    assert all(causes.count(name) == 1 for name in once)


def test_a_funding_payment_is_found_named_and_sized_by_its_day(planted: Planted) -> None:
    row = list(planted.told.coverage.values())[-1]
    assert row["likely_cause"] == "funding_or_transfer"
    assert row["unexplained_usd"] == pytest.approx(FUNDING_USD, abs=CLOSE)
    assert row["position_explained_ratio"] == 1.0


def test_nav_says_what_all_that_was_left_out_amounted_to(planted: Planted) -> None:
    day = list(planted.told.coverage.values())[1]
    twice = planted.twice
    lost_pnl = planted.close["realizedPnlUsd"] + sum(
        x["realizedPnlUsd"] for x in planted.hour_closes
    )
    lost_fees = planted.foreign["fee_total"] + planted.unknown["fee_total"]
    lost_fees += sum(x["fee_total"] for x in planted.hour) - twice["fees_usd"]
    assert day["unexplained_usd"] == pytest.approx(lost_pnl - lost_fees, abs=CLOSE)
    assert day["status"] == "incomplete"


# ------------------------------------------------------------------------------- a venue's exports


def reconcile(told: Told, *words: str) -> tuple[int, str]:
    env = {"EXECINTEL_HOME": str(told.settings.home)}
    result = CliRunner().invoke(app, ["reconcile", *words], env=env)
    return result.exit_code, result.output


def exports(complete: Told, tmp_path: Path) -> tuple[str, ...]:
    """Return the options that name what the venue would export, the funding included."""
    middle = complete.end_ms - 24 * HOUR_MS
    time = datetime.fromtimestamp((middle + 5 * HOUR_MS) / 1000, UTC)
    funding = [(f"{time:%Y-%m-%d %H:%M:%S}", "BTCUSDT", FUNDING_USD)]
    write_trades(complete.log, tmp_path / "trades.csv")
    write_income(complete.log, tmp_path / "income.csv", funding)
    trades, income = str(tmp_path / "trades.csv"), str(tmp_path / "income.csv")
    return ("--trades", trades, "--income", income)


def test_what_the_venue_exports_is_what_a_complete_log_tells(
    complete: Told, tmp_path: Path
) -> None:
    code, text = reconcile(complete, *exports(complete, tmp_path)[:2])
    assert (code, "the logs tell every line of the export" in text) == (0, True), text


def test_lines_that_the_logs_miss_are_listed_one_by_one(
    complete: Told, planted: Planted, tmp_path: Path
) -> None:
    options = exports(complete, tmp_path)
    code, text = reconcile(planted.told, *options, "--format", "json")
    rows: list[Row] = json.loads(text)
    assert code == 1
    trades = [x for x in rows if x["kind"] == "trade"]
    lost = [planted.foreign, planted.unknown, *planted.hour]
    missing = {x["order"] for x in trades if x["what"] == "missing in the logs"}
    assert missing == {str(x["orderId"]) for x in lost}
    (only,) = [x for x in trades if x["what"] == "only in the logs"]
    assert only["where"] == "attempt sig_twice"
    (funding,) = [x for x in rows if x["kind"] == "funding"]
    assert (funding["venue"], funding["logs"]) == (FUNDING_USD, None)
    closes = [x for x in rows if x["kind"] == "realized_pnl"]
    wanted = sorted(x["realizedPnlUsd"] for x in [planted.close, *planted.hour_closes])
    assert sorted(x["venue"] for x in closes) == pytest.approx(wanted)
    fees = sorted(x["venue"] for x in rows if x["kind"] == "fee" and x["venue"] is not None)
    assert fees == pytest.approx(sorted(x["fee_total"] for x in lost))


def test_without_exports_the_coverage_and_every_jump_are_shown(planted: Planted) -> None:
    code, text = reconcile(planted.told)
    assert code == 0
    for words in ("incomplete", "close line missing", "trade outside log", "silent log"):
        assert words in text


# --------------------------------------------------------------------------------- random omissions


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 40))]
)
def test_losing_lines_lowers_coverage_and_raises_no_size(
    complete: Told, tmp_path: Path, seed: int
) -> None:
    log = complete.log.copy()
    assert log.drop_random(0.01, seed) > 20
    told = tell(log, tmp_path, complete.end_ms, after=complete.settings.home)
    before, after = complete.coverage["*"]["coverage"], told.coverage["*"]["coverage"]
    assert after is None or after < before - 1e-3
    assert told.sizes.keys() == complete.sizes.keys()
    for symbol, size in told.sizes.items():
        assert size <= complete.sizes[symbol], symbol
