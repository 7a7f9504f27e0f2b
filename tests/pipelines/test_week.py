"""The simulated week: engine and refresh under one clock, snapshots acted on, the same bytes."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features.lake import Lake, data_files
from features.publications import in_force
from features.settings import Settings
from features.snapshot import Store
from live.market import bars
from pipelines.commands.demo import generated_settings
from pipelines.demo import DEMO_SYMBOLS
from pipelines.demo.week import MAX_AGE_S, Week, trade_week
from pipelines.refresh import refresh
from tests import independent
from tests.test_real_logs import differences, fetch

SYMBOLS = ("BTCUSDT", "SUIUSDT")
DAYS = 0.5  # the first half ends at 18:00; one refresh there


def traded(root: Path) -> tuple[Settings, Week]:
    (root / "logs").mkdir(parents=True)
    settings = generated_settings(root, snapshot_max_age_s=MAX_AGE_S)
    return settings, trade_week(settings, days=DAYS, symbols=SYMBOLS)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Week]:
    """Half a day of two symbols."""
    return traded(tmp_path_factory.mktemp("week") / "demo")


def lines_of(settings: Settings, name: str) -> list[dict[str, Any]]:
    assert settings.log_dir is not None
    text = (settings.log_dir / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_an_order_is_decided_by_what_the_simulated_clock_had_published(
    week: tuple[Settings, Week],
) -> None:
    settings, told = week
    published = in_force(settings.snapshots_root)
    assert told.snapshots == len(published) == 1
    assert published[0].published_ms == told.end_ms - round(DAYS * 86_400_000 / 2)
    orders = lines_of(settings, "order_metrics")
    acted_on = {order["snapshot_id"] for order in orders}
    assert acted_on == {None, published[0].snapshot_id}
    assert len(orders) == sum(told.orders) > 15
    assert min(told.orders) > 5
    for order in orders:
        known = [
            each.snapshot_id
            for each in published
            if each.published_ms < order["decision_ts"] * 1000
        ]
        assert order["snapshot_id"] == (known[-1] if known else None)


def test_what_its_refreshes_read_is_what_their_last_snapshot_came_from(
    week: tuple[Settings, Week],
) -> None:
    settings, told = week
    (only,) = in_force(settings.snapshots_root)
    inputs = Store(settings.snapshots_root).manifest(only.snapshot_id)["inputs"]
    rows = {name: source["rows"] for name, source in inputs.items() if name in told.read}
    assert {name: table.accepted + table.rejected for name, table in told.read.items()} == rows
    assert rows["raw_router__events"] > 0


def test_logs_traces_and_bars_of_the_week_are_what_the_refresh_reads(
    week: tuple[Settings, Week],
) -> None:
    settings, told = week
    report = refresh(settings, as_of_ms=told.end_ms, now_ms=told.end_ms)
    assert report.outcome == "published"
    assert (report.intake.problems, report.intake.unclaimed) == ([], [])
    lake = Lake(settings.lake_root)

    def rows(table: str) -> int:
        return sum(file.rows for file in data_files(lake.open(table)))

    assert rows("raw_router__events") == sum(told.orders)
    assert rows("raw_telemetry__traces") == told.trades
    assert rows("raw_market__bars") == len(SYMBOLS) * round((6 + DAYS) * 96)
    assert not sum(table.rejected for table in report.intake.tables.values())
    assert settings.log_dir is not None
    for symbol in SYMBOLS:
        assert len(list(bars.read(settings.log_dir / "bars" / f"{symbol}_15m.csv"))) > 500


def test_its_own_logs_explain_every_position_and_the_account_to_a_millionth(
    week: tuple[Settings, Week],
) -> None:
    settings, told = week
    refresh(settings, as_of_ms=told.end_ms, now_ms=told.end_ms)  # one that stands does nothing
    found = in_force(settings.snapshots_root)[-1].snapshot_id
    with duckdb.connect(settings.snapshots_root / found / "features.duckdb", read_only=True) as con:
        (positions,) = con.sql(
            "SELECT count(*), count(cause), max(abs(unexplained_qty)), max(abs(pnl_missing_usd))"
            " FROM core_position__reconciliation WHERE to_ms IS NOT NULL"
        ).fetchall()
        (account,) = con.sql(
            "SELECT status, coverage, unexplained_usd, nav_change_usd FROM feat_account__coverage"
            " WHERE day = '*'"
        ).fetchall()
    assert positions[0] > 10
    assert positions[1:] == (0, pytest.approx(0.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))
    assert abs(account[3]) > 1.0
    assert account[:3] == ("complete", pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))
    # What is said of its trades is the venue's equity; the last NAV is of the last order.
    assert told.open_usd is not None
    assert told.equity_change_usd == pytest.approx(told.net_usd + told.open_usd, abs=1e-6)
    assert told.equity_change_usd == pytest.approx(account[3], abs=abs(told.open_usd) + 5.0)


def test_two_weeks_of_one_seed_are_the_same_bytes(
    week: tuple[Settings, Week], tmp_path: Path
) -> None:
    settings, told = week
    again, repeated = traded(tmp_path / "demo")
    assert repeated == told
    assert settings.log_dir is not None
    assert again.log_dir is not None
    for folder, other in (
        (settings.log_dir, again.log_dir),
        (settings.home / "analytics", again.home / "analytics"),
    ):
        one = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
        two = {p.relative_to(other): p.read_bytes() for p in other.rglob("*.*") if p.is_file()}
        assert one
        assert one == two


def pay_funding(folder: Path, end_ms: int) -> None:
    """Write what both symbols paid every 8 hours, each line twice, in a file as executors write."""
    for hour in range(0, 64, 8):
        for symbol, usd in zip(SYMBOLS, (-0.5, 0.125), strict=True):
            ts = end_ms / 1000 - 3600 * hour - 60
            line = {"ts": ts, "event_type": "funding", "symbol": symbol, "funding_usd": usd}
            with (folder / "orders_executed.jsonl").open("a") as file:
                file.write(f"{json.dumps(line)}\n" * 2)


# Positions turn where a swing trade meets an intraday one, from the second day on.
@pytest.mark.parametrize(
    ("days", "symbols", "turns_n"),
    [(2, SYMBOLS, 3), pytest.param(7, DEMO_SYMBOLS, 100, marks=pytest.mark.soak)],
    ids=["two days", "the whole week"],
)
def test_tables_of_a_week_equal_the_independent_calculation(
    tmp_path: Path, days: float, symbols: tuple[str, ...], turns_n: int
) -> None:
    """Its venue nets long and short, as that of the real logs does not: here positions turn."""
    settings = generated_settings(tmp_path / "demo", snapshot_max_age_s=MAX_AGE_S)
    folder = settings.log_dir
    assert folder is not None
    folder.mkdir(parents=True)
    end_ms = trade_week(settings, days=days, symbols=symbols).end_ms
    pay_funding(folder, end_ms)
    refresh(settings, as_of_ms=end_ms, now_ms=end_ms)
    closes = [line for line in lines_of(settings, "orders_executed") if "closed_qty" in line]
    turns = [c for c in closes if c["position_size_before"] * c["position_size_after"] < 0]
    assert len(turns) > turns_n

    rows = independent.outcomes(folder)
    paid = independent.funding(folder)
    assert len(paid) == 16
    performance = independent.symbol_performance(folder, rows, end_ms)
    routed = independent.router_effectiveness(folder, rows, end_ms)
    expected: dict[str, dict[Any, dict[str, Any]]] = {
        "feat_symbol__performance": {(symbol,): row for symbol, row in performance.items()},
        "feat_router__effectiveness": {(symbol,): row for symbol, row in routed.items()},
        "feat_execution__hourly_expectancy": independent.hourly_expectancy(rows, paid, end_ms),
        "feat_execution__slippage_quartiles": independent.slippage_quartiles(rows, end_ms),
    }
    found = in_force(settings.snapshots_root)[-1].snapshot_id
    with duckdb.connect(settings.snapshots_root / found / "features.duckdb", read_only=True) as con:
        for table, wanted in expected.items():
            one = next(iter(wanted))
            there = fetch(con, table, ("symbol", "hour_utc")[: len(one)])
            assert there.keys() == wanted.keys()
            assert (table, differences(wanted, there, tuple(wanted[one]))) == (table, [])
