import gzip
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features.settings import Settings
from pipelines.demo import DEMO_SYMBOLS, DemoTruth, generate
from pipelines.demo.book import Position
from pipelines.intake.kinds import kind_of
from pipelines.refresh import refresh

Line = dict[str, Any]
DAY_MS = 86_400_000
STEMS = ("order_metrics", "orders_executed", "orders_attempted", "risk_vetoes", "position_state")
# What the newer executor adds to a router line (contracts, "Our executor adds").
ADDED = {
    "is_maker_final", "started_maker", "used_fallback", "reason", "arrival", "arrival.bid",
    "arrival.ask", "arrival.mid", "arrival.ts", "decision_ts", "submit_ts", "ack_ts", "fill_ts",
    "strategy", "snapshot_id", "maker_offset_bps", "policy", "policy.quality",
    "policy.maker_first", "policy.taker_bias", "size", "size.gross_target", "size.inverse_vol",
    "size.regime", "size.sharpe", "size.intel", "size.final",
}  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    """Generate a week with all faults, as `execintel demo --faults` does."""
    return generate(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    """Generate three days without faults."""
    return generate(tmp_path_factory.mktemp("clean"), days=3, faults=False)


# ------------------------------------------------------------------------------- reading it again


def raw_lines(folder: Path, stem: str) -> list[str]:
    """Return the whole lines of a log, oldest rotation first."""
    found = []
    for path in sorted(folder.glob(f"{stem}.*"), key=lambda p: p.name, reverse=True):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found.append((path.name.removesuffix(".gz"), data.decode()))
    order = {f"{stem}.2.jsonl": 0, f"{stem}.1.jsonl": 1, f"{stem}.jsonl": 2}
    found.sort(key=lambda item: order[item[0]])
    return [line for _, text in found for line in text.split("\n")[:-1]]


def good_lines(folder: Path, stem: str) -> Iterator[Line]:
    """Yield the usable lines, each once: objects with time, symbol and numbers that are numbers."""
    seen = set()
    for text in raw_lines(folder, stem):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if not isinstance(line, dict) or "ts" not in line or text in seen:
            continue
        symbol = line.get("symbol") or line.get("raw", {}).get("symbol")
        if not symbol or line.get("qty") == "n/a" or line.get("prices", {}).get("mark") == "n/a":
            continue
        seen.add(text)
        yield {**line, "symbol": symbol}


def by_type(folder: Path, event_type: str) -> list[Line]:
    return [x for x in good_lines(folder, "orders_executed") if x["event_type"] == event_type]


def attempts_of(folder: Path) -> dict[str, Line]:
    """Return the router lines by attempt id, without the position_close notes."""
    lines = (x for x in good_lines(folder, "order_metrics") if "event" not in x)
    return {line["attempt_id"]: line for line in lines}


def closes_of(folder: Path) -> dict[tuple[int, str], Line]:
    return {(x["orderId"], x["ts_close"]): x for x in by_type(folder, "order_close")}


def sums(pairs: Iterator[tuple[str, float]]) -> dict[str, float]:
    parts: dict[str, list[float]] = defaultdict(list)
    for symbol, value in pairs:
        parts[symbol].append(value)
    return {symbol: math.fsum(values) for symbol, values in parts.items()}


def assert_close_to(found: Mapping[str, float], told: Mapping[str, float]) -> None:
    assert {s: found.get(s, 0.0) for s in told} == pytest.approx(dict(told), abs=1e-9)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ms_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


# ------------------------------------------------------------------------------------ determinism


def test_same_seed_gives_same_bytes_and_another_seed_another_market(tmp_path: Path) -> None:
    random.seed(1)
    first = generate(tmp_path / "a", days=1)
    random.seed(2)  # the process-wide generator has no part in it
    second = generate(tmp_path / "b", days=1)
    other = generate(tmp_path / "c", days=1, seed=8)

    assert files_of(first.folder) == files_of(second.folder)
    assert first.outcomes == second.outcomes
    assert first.half_line_rest == second.half_line_rest
    assert (
        files_of(first.folder)["bars/BTCUSDT_15m.csv"]
        != (files_of(other.folder)["bars/BTCUSDT_15m.csv"])
    )


def test_generating_again_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    generate(tmp_path, days=0.5)
    before = files_of(tmp_path)

    generate(tmp_path, days=0.5)

    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["order_metrics.jsonl", "orders_executed.7.jsonl", "bars/X_1h.csv"]
)
def test_folder_with_other_logs_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "bars").mkdir()
    (tmp_path / name).write_text("someone's log\n")
    before = files_of(tmp_path)

    with pytest.raises(FileExistsError, match="is not of this demonstration"):
        generate(tmp_path, days=0.5)

    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "days=0"),
        ({"attempts_per_day": -1}, "attempts_per_day=-1"),
        ({"symbols": ()}, "0 symbols"),
        ({"symbols": ("A", "A")}, "symbols repeat: A, A"),
    ],
)
def test_impossible_demonstration_is_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------ shape


def key_paths(line: Mapping[str, Any], above: str = "") -> frozenset[str]:
    """Return the dotted keys of a line; the symbols below symbol_gross_usd are data, not keys."""
    found: set[str] = set()
    for key, value in line.items():
        found.add(above + key)
        if isinstance(value, dict) and key != "symbol_gross_usd":
            found |= key_paths(value, f"{above}{key}.")
    return frozenset(found)


def shapes_of(folder: Path, stem: str) -> Counter[tuple[str, frozenset[str]]]:
    """Count every (event type, keys) of a log, planted bad lines and our additions left out."""
    found: Counter[tuple[str, frozenset[str]]] = Counter()
    for text in raw_lines(folder, stem):
        if '"sig_bad' in text or "}{" in text:
            continue
        line = json.loads(text)
        what = str(line.get("event_type") or line.get("event") or "attempt")
        keys = key_paths(line)
        found[what, keys - ADDED if stem == "order_metrics" else keys] += 1
    return found


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", ["demo", "clean"])
def test_lines_have_the_keys_of_real_lines(
    name: str, stem: str, router_logs: Path, request: pytest.FixtureRequest
) -> None:
    made = shapes_of(request.getfixturevalue(name).folder, stem)
    assert set(made) - set(shapes_of(router_logs, stem)) == set()


@pytest.mark.parametrize(
    ("stem", "share"),
    [
        ("order_metrics", 1.0),
        ("orders_executed", 0.99),  # left out: smoke tests, odd dry runs
        ("orders_attempted", 0.99),  # left out: smoke tests (and lines from before attempt ids)
        ("risk_vetoes", 0.85),  # left out: gates that spoke a dozen times or less
        ("position_state", 0.99),  # left out: a smoke test
    ],
)
def test_shapes_of_real_lines_occur(
    demo: DemoTruth, router_logs: Path, stem: str, share: float
) -> None:
    made = shapes_of(demo.folder, stem)
    real = shapes_of(router_logs, stem)
    if stem == "orders_attempted":  # v5.10 began with the attempt ids
        real = Counter({shape: n for shape, n in real.items() if "attempt_id" in shape[1]})
    assert sum(n for shape, n in real.items() if shape in made) >= share * real.total()


def test_real_key_order_is_kept(clean: DemoTruth, router_logs: Path) -> None:
    real = {tuple(json.loads(text)) for text in raw_lines(router_logs, "order_metrics")}
    made = [tuple(json.loads(text)) for text in raw_lines(clean.folder, "order_metrics")]
    assert all(any(keys[: len(known)] == known for known in real) for keys in made)


def test_both_generations_of_acknowledgements_and_the_newer_executor_occur(demo: DemoTruth) -> None:
    acks = by_type(demo.folder, "order_ack")
    lines = attempts_of(demo.folder).values()
    newer = [line for line in lines if "is_maker_final" in line]

    assert sum("raw" in ack for ack in acks) > 100
    assert sum("attempt_id" in ack for ack in acks) > 1000
    assert len(newer) > 500
    # The newer executor starts in the middle of the week and stays.
    first_newer = min(line["ts"] for line in newer)
    assert all("is_maker_final" in x for x in lines if x["ts"] > first_newer + 600)
    assert set().union(*(key_paths(line) for line in newer)) >= ADDED


def test_every_file_is_claimed_by_a_kind(demo: DemoTruth) -> None:
    assert [n for n in files_of(demo.folder) if kind_of(Path(n).name) is None] == []


# ------------------------------------------------------------------------------------------ truth


def test_truth_counts_whole_lines_of_every_file(demo: DemoTruth) -> None:
    found = {}
    for name, data in files_of(demo.folder).items():
        text = gzip.decompress(data) if name.endswith(".gz") else data
        found[name] = text.count(b"\n")
    assert found == demo.lines


@pytest.mark.parametrize("name", ["demo", "clean"])
def test_truth_agrees_with_the_files_read_again(name: str, request: pytest.FixtureRequest) -> None:
    truth: DemoTruth = request.getfixturevalue(name)
    folder = truth.folder
    attempts, closes = attempts_of(folder), closes_of(folder)
    fills: dict[str, dict[int, Line]] = defaultdict(dict)
    for fill in by_type(folder, "order_fill"):
        fills[fill["attempt_id"]][fill["orderId"]] = fill  # cumulative: the last one counts
    outcomes: Counter[tuple[str, str]] = Counter()
    names = {
        "FILLED": "filled", "PARTIALLY_FILLED": "partial", "NEW": "unknown",
        "CANCELED": "unfilled", "EXPIRED": "unfilled", "REJECTED": "rejected",
    }  # fmt: skip
    for key, line in attempts.items():
        status = names[line["result"]["status"]]
        outcome = "filled" if status == "unknown" and key in fills else status
        outcomes[line["symbol"], outcome] += 1

    assert outcomes == Counter(
        {(s, k): n for s, counts in truth.outcomes.items() for k, n in counts.items() if n}
    )
    assert Counter(x["symbol"] for x in attempts.values()) == truth.attempts
    assert Counter(x["symbol"] for x in closes.values()) == truth.closes
    assert_close_to(
        sums((x["symbol"], x["realizedPnlUsd"]) for x in closes.values()), truth.realized_pnl_usd
    )
    assert_close_to(
        sums(
            (x["symbol"], x["realizedPnlUsd"])
            for x in closes.values()
            if x["attempt_id"] in attempts
        ),
        truth.realized_pnl_attempts_usd,
    )
    routed = [(x["symbol"], x["fees_usd"]) for x in attempts.values() if x["fees_usd"] is not None]
    told_by_fills = [
        (fill["symbol"], fill["fee_total"])
        for key, orders in fills.items()
        for fill in orders.values()
        if key not in attempts or attempts[key]["fees_usd"] is None
    ]
    assert_close_to(sums(iter(routed + told_by_fills)), truth.fees_usd)
    known = [x for x in attempts.values() if x.get("is_maker_final") is not None]
    assert Counter(x["symbol"] for x in known) == +Counter(truth.maker_known)
    assert Counter(x["symbol"] for x in known if x["is_maker_final"]) == +Counter(truth.maker_fills)


def test_attempts_are_as_many_as_asked_for(demo: DemoTruth, clean: DemoTruth) -> None:
    assert sum(demo.attempts.values()) == 7 * 400
    assert sum(clean.attempts.values()) == 3 * 400
    assert set(demo.attempts) == set(DEMO_SYMBOLS)
    assert min(demo.attempts.values()) > 100


def test_refresh_finds_exactly_what_was_planted(demo: DemoTruth, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, log_dir=demo.folder)

    report = refresh(settings, as_of_ms=demo.end_ms, now_ms=demo.end_ms + 1000)

    assert report.outcome == "published"
    tables = report.intake.tables
    for stem, table in (
        ("order_metrics", "raw_router__events"),
        ("orders_executed", "raw_orders__events"),
        ("orders_attempted", "raw_orders__attempts"),
        ("risk_vetoes", "raw_risk__vetoes"),
        ("position_state", "raw_positions__states"),
    ):
        assert tables[table].rejected == demo.rejected[stem], table
    features = tmp_path / "snapshots" / str(report.snapshot_id) / "features.duckdb"
    with duckdb.connect(str(features), read_only=True) as con:
        router = con.execute(
            "SELECT symbol, n, fill_n, unknown_n, maker_known_n FROM feat_router__effectiveness"
            " WHERE symbol <> '*'"
        ).fetchall()
        performance = con.execute(
            "SELECT symbol, n, realized_pnl_usd, realized_pnl_attempts_usd, fees_usd"
            " FROM feat_symbol__performance"
        ).fetchall()
        planted = con.execute(
            "SELECT count(*) FILTER (suspect_reason = 'crossed_arrival_book'),"
            " count(*) FILTER (outcome = 'close_only'),"
            " count(*) FILTER (outcome IN ('filled', 'partial') AND NOT is_confirmed)"
            " FROM core_execution__outcomes"
        ).fetchone()
    assert {row[0]: row[1:4] for row in router} == {
        s: (demo.attempts[s], demo.fills[s], demo.unknown[s]) for s in demo.symbols
    }
    assert {row[0]: row[4] for row in router} == demo.maker_known
    assert {row[0]: row[1] for row in performance} == demo.closes
    assert_close_to({row[0]: row[2] for row in performance}, demo.realized_pnl_usd)
    assert_close_to({row[0]: row[3] for row in performance}, demo.realized_pnl_attempts_usd)
    assert_close_to({row[0]: row[4] for row in performance}, demo.fees_usd)
    assert planted == tuple(
        demo.faults[name] for name in ("crossed_book", "reduce_close", "unconfirmed_fill")
    )


# ----------------------------------------------------------------------------------------- faults


def test_every_fault_is_planted(demo: DemoTruth) -> None:
    assert set(demo.faults) == {
        "ack_without_symbol", "crossed_book", "glued_line", "half_line", "missing_symbol",
        "missing_time", "nav_doubled", "nav_zero", "new_never_polled", "next_day_close",
        "not_a_number", "not_an_object", "not_json", "re_read_line", "reduce_close",
        "unconfirmed_fill",
    }  # fmt: skip
    assert min(demo.faults.values()) > 0
    assert {"order_metrics.2.jsonl.gz", "order_metrics.1.jsonl"} <= set(demo.lines)


def test_counts_of_damaged_lines_are_those_in_the_files(demo: DemoTruth) -> None:
    found: Counter[str] = Counter()
    for stem in STEMS:
        texts = raw_lines(demo.folder, stem)
        repeated = sum(n - 1 for n in Counter(texts).values())
        assert repeated == demo.repeated[stem]
        found["re_read_line"] += repeated
        for text in texts:
            try:
                line = json.loads(text)
            except ValueError:
                found["glued_line" if "}{" in text else "not_json"] += 1
                continue
            if not isinstance(line, dict):
                found["not_an_object"] += 1
            elif "ts" not in line:
                found["missing_time"] += 1
            elif not (line.get("symbol") or line.get("raw", {}).get("symbol")):
                is_ack = line.get("reason") == "dry_run"
                found["ack_without_symbol" if is_ack else "missing_symbol"] += 1
            elif '"n/a"' in text:
                found["not_a_number"] += 1
    assert found == Counter({name: demo.faults[name] for name in found})
    assert len(found) == 8


def test_unpolled_orders_carry_the_slippage_artefact(demo: DemoTruth) -> None:
    new = [x for x in attempts_of(demo.folder).values() if x["result"]["status"] == "NEW"]
    assert len(new) == demo.faults["new_never_polled"] + demo.faults["next_day_close"]
    for line in new:
        assert line["slippage_bps"] == (-10000.0 if line["side"] == "BUY" else 10000.0)
        assert line["prices"]["avg_fill"] == 0.0
        assert line["fees_usd"] is None


def test_reduce_leg_closes_without_a_router_line_of_its_own(demo: DemoTruth) -> None:
    attempts = attempts_of(demo.folder)
    legs = [x for x in closes_of(demo.folder).values() if x["attempt_id"] not in attempts]
    filled = {x["attempt_id"] for x in by_type(demo.folder, "order_fill")}

    assert len(legs) == demo.faults["reduce_close"]
    for leg in legs:
        assert leg["attempt_id"].endswith("_reduce")
        assert leg["attempt_id"].removesuffix("_reduce") in attempts
        assert leg["attempt_id"] in filled


def test_some_closes_come_in_the_day_after_their_attempt(demo: DemoTruth) -> None:
    attempts = attempts_of(demo.folder)
    later = [
        close
        for close in closes_of(demo.folder).values()
        if close["attempt_id"] in attempts
        and ms_of(close["ts_close"]) // DAY_MS
        > attempts[close["attempt_id"]]["ts"] * 1000 // DAY_MS
    ]
    assert len(later) == demo.faults["next_day_close"] == 6  # the six midnights inside the week


def test_half_line_and_its_rest_make_one_more_attempt(demo: DemoTruth) -> None:
    last = (demo.folder / "order_metrics.jsonl").read_text().rsplit("\n", 1)[1]
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(last)

    line = json.loads(last + demo.half_line_rest)

    assert line["result"]["status"] == "NEW"
    assert line["attempt_id"] not in attempts_of(demo.folder)
    assert demo.start_ms < line["ts"] * 1000 <= demo.end_ms
    assert demo.half_line_rest.endswith("\n")


def test_nav_faults_stand_out_of_a_steady_nav(demo: DemoTruth) -> None:
    navs = [x["nav_snapshot"]["nav_usd"] for x in good_lines(demo.folder, "orders_attempted")]
    assert sum(nav == 0 for nav in navs) == demo.faults["nav_zero"]
    assert sum(nav > 15_000 for nav in navs) == demo.faults["nav_doubled"]
    assert all(8_000 < nav < 12_000 for nav in navs if 0 < nav <= 15_000)


def test_without_faults_logs_are_clean(clean: DemoTruth) -> None:
    assert clean.faults == {}
    assert clean.half_line_rest == ""
    assert set(clean.rejected.values()) == set(clean.repeated.values()) == {0}
    assert set(clean.lines) == {f"{stem}.jsonl" for stem in STEMS} | {
        f"bars/{symbol}_15m.csv" for symbol in clean.symbols
    }
    for stem in STEMS:
        texts = raw_lines(clean.folder, stem)
        assert len(set(texts)) == len(texts)
        assert (clean.folder / f"{stem}.jsonl").read_bytes().endswith(b"\n")
        for line in map(json.loads, texts):
            assert line["ts"]
            assert line.get("symbol") or line["raw"]["symbol"]
    statuses = {x["result"]["status"] for x in attempts_of(clean.folder).values()}
    assert statuses <= {"FILLED", "PARTIALLY_FILLED", "CANCELED", "EXPIRED", "REJECTED"}
    assert not any("_reduce" in text for text in raw_lines(clean.folder, "orders_executed"))
    assert sum(clean.unknown.values()) == 0


# ------------------------------------------------------------------------------------------ story


def test_lines_stand_in_the_order_of_their_time_within_the_span(clean: DemoTruth) -> None:
    for stem in STEMS:
        times = []
        for line in good_lines(clean.folder, stem):
            ts = line["ts"]
            times.append(ts * 1000 if isinstance(ts, float) else ms_of(ts))
        assert times == sorted(times), stem
        assert clean.start_ms < times[0] <= times[-1] <= clean.end_ms, stem


def test_orders_are_decided_at_the_price_of_their_bar(demo: DemoTruth) -> None:
    bars: dict[tuple[str, str], list[str]] = {}
    for symbol in demo.symbols:
        for row in (demo.folder / f"bars/{symbol}_15m.csv").read_text().splitlines()[1:]:
            date, *cells = row.split(",")
            bars[symbol, date] = cells
    for line in good_lines(demo.folder, "orders_attempted"):
        opened = int(line["local_ts"] // 900 * 900)
        date = datetime.fromtimestamp(opened, UTC).isoformat(sep=" ")
        _, high, low, _, _ = map(float, bars[line["symbol"], date])
        tick = line["price_hint"] * 1e-4
        assert low - tick <= line["price_hint"] <= high + tick


def test_bars_are_whole_without_gaps_and_reach_back_before_the_first_order(demo: DemoTruth) -> None:
    for symbol in demo.symbols:
        rows = (demo.folder / f"bars/{symbol}_15m.csv").read_text().splitlines()
        assert rows[0] == "date,open,high,low,close,volume"
        opened = [ms_of(row.split(",")[0]) for row in rows[1:]]
        assert {b - a for a, b in pairwise(opened)} == {900_000}
        assert opened[-1] + 900_000 == demo.end_ms
        assert demo.start_ms - opened[0] >= 501 * 900_000
        for row in rows[1:]:
            o, h, low, c, v = map(float, row.split(",")[1:])
            assert low <= min(o, c) <= max(o, c) <= h
            assert v > 0


def test_volatility_regimes_differ_between_symbols(demo: DemoTruth) -> None:
    ratios = {}
    for symbol in demo.symbols:
        rows = (demo.folder / f"bars/{symbol}_15m.csv").read_text().splitlines()[1:]
        bars = [list(map(float, row.split(",")[1:])) for row in rows]
        ranges = [
            max(h, before[3]) - min(low, before[3]) for before, (_, h, low, _, _) in pairwise(bars)
        ]
        atr = [sum(ranges[-n:]) / n / (sum(b[3] for b in bars[-n:]) / n) for n in (50, 500)]
        ratios[symbol] = atr[0] / atr[1]
    assert ratios["LTCUSDT"] < 0.5  # quiet
    assert 1.5 < ratios["WIFUSDT"] < 2.5  # hot
    assert ratios["SUIUSDT"] > 2.5  # panic
    assert all(0.5 < ratios[s] < 1.5 for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "LINKUSDT"))


def test_closes_follow_the_fills_first_in_first_out(clean: DemoTruth) -> None:
    # Without faults every fill is in the log, so the PnL can be found from the fills alone.
    lots: dict[str, list[list[float]]] = defaultdict(list)
    side: dict[str, int] = {}
    latest = {x["orderId"]: x for x in by_type(clean.folder, "order_fill")}
    closes = {x["orderId"]: x for x in by_type(clean.folder, "order_close")}
    for order_id in sorted(latest):  # order ids rise with the decisions
        fill = latest[order_id]
        symbol, qty, px = fill["symbol"], fill["executedQty"], fill["avgPrice"]
        if order_id not in closes:
            lots[symbol].append([qty, px])
            side[symbol] = 1 if fill["side"] == "BUY" else -1
            continue
        close, pnl, left = closes[order_id], 0.0, qty
        held = sum(q for q, _ in lots[symbol])
        assert close["position_size_before"] == pytest.approx(held * side[symbol], abs=1e-9)
        while left > 1e-9:
            lot = lots[symbol][0]
            taken = min(lot[0], left)
            pnl += (px - lot[1]) * side[symbol] * taken
            lot[0] -= taken
            left -= taken
            if lot[0] < 1e-9:
                lots[symbol].pop(0)
        assert close["realizedPnlUsd"] == pytest.approx(pnl, abs=1e-6)
    assert len(closes) > 200


def test_maker_and_fallback_have_data(demo: DemoTruth) -> None:
    newer = [x for x in attempts_of(demo.folder).values() if "is_maker_final" in x]
    started = [x for x in newer if x["started_maker"]]
    fallbacks = [x for x in started if x["used_fallback"]]
    assert 0.1 < len(fallbacks) / len(started) < 0.9
    assert min(demo.maker_known.values()) >= 20
    assert all(x["is_maker_final"] is False for x in fallbacks)
    assert all("reason" in x for x in newer if x["result"]["status"] in ("EXPIRED", "REJECTED"))


@pytest.mark.parametrize(
    ("sign", "px", "pnl"),
    [
        (1, 12.0, 2 * 0.5 + 1 * -1.0),  # long: 5 steps of 0.1 from 10, 5 of the 10 from 14
        (-1, 12.0, -(2 * 0.5 + 1 * -1.0)),  # short: the other way round
    ],
)
def test_position_closes_the_oldest_lot_first(sign: int, px: float, pnl: float) -> None:
    position = Position(step=0.1, digits=1)
    position.open(sign, 5, 10.0)
    position.open(sign, 10, 14.0)

    assert position.close(10, px) == pytest.approx(pnl)
    assert position.signed_qty == sign * 0.5
    assert position.entry_px == 14.0
    with pytest.raises(ValueError, match="cannot close 6 steps of a position of 5"):
        position.close(6, px)
    with pytest.raises(ValueError, match="close it first"):
        position.open(-sign, 1, px)


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(tmp_path / "a", days=1, on_progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1] == (400, 400)


@pytest.mark.parametrize("arguments", [{"days": 0.02}, {"attempts_per_day": 30_000, "days": 0.1}])
def test_short_and_crowded_spans_work(tmp_path: Path, arguments: dict[str, Any]) -> None:
    truth = generate(tmp_path, symbols=("BTCUSDT", "NEWUSDT"), **arguments)
    asked = arguments["days"] * arguments.get("attempts_per_day", 400)
    assert sum(truth.attempts.values()) == round(asked)
    assert Counter(x["symbol"] for x in attempts_of(tmp_path).values()) == +Counter(truth.attempts)
