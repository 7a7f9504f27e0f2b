"""Recorded quotes and trades: reading them, and the whole engine trading on real ones."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.settings import Settings
from live import backtest
from live.market import Bar, Print, Quote, quotes
from live.results import Result
from live.venues.paper import PaperConfig
from tests.live.independent_book import fifo_pnl
from tests.live.trading import Restless

Line = dict[str, Any]
START_USD = 10_000.0
LATENCY_MS = 50


def recorded(
    folder: Path,
    bbo: Sequence[tuple[Any, Any, Any]],
    trades: Sequence[tuple[int, float, float]],
) -> Path:
    """Write quotes (ms, bid, ask) and trades (ms, price, quantity) of BTCUSDT."""
    for name, keys, rows in (("bbo", ("bid", "ask"), bbo), ("trades", ("price", "qty"), trades)):
        if rows:
            columns = dict(zip(("exch_ms", *keys), map(list, zip(*rows, strict=True)), strict=True))
            pq.write_table(pa.table(columns), folder / f"day_btcusdt_{name}.parquet")
    return folder


# -------------------------------------------------------------------------------------- reading


def test_spans_hold_what_happened_in_time_order_and_end_with_their_bars(tmp_path: Path) -> None:
    bbo = [(990, 9.0, 11.0), (1_000, 10.0, 11.0), (2_500, 10.0, 12.0), (4_100, 10.0, 12.0)]
    trades = [(1_000, 11.0, 1.0), (1_400, 10.0, 2.0), (1_999, 10.5, 1.0), (4_000, 12.0, 1.0)]
    files = quotes.find(recorded(tmp_path, bbo, trades), ["BTCUSDT"])
    assert list(quotes.spans(files, 1_000)) == [
        [Quote("BTCUSDT", 990, 9.0, 11.0)],  # the recording began within this span: no bar
        [
            Print("BTCUSDT", 1_000, 11.0, 1.0),  # before the quote that shows what it left
            Quote("BTCUSDT", 1_000, 10.0, 11.0),
            Print("BTCUSDT", 1_400, 10.0, 2.0),
            Print("BTCUSDT", 1_999, 10.5, 1.0),
            Bar("BTCUSDT", 1_000, 1_000, 11.0, 11.0, 10.0, 10.5, 4.0),
        ],
        [Quote("BTCUSDT", 2_500, 10.0, 12.0)],  # nothing traded: no bar
        [Print("BTCUSDT", 4_000, 12.0, 1.0), Quote("BTCUSDT", 4_100, 10.0, 12.0)],  # cut short
    ]


def test_without_trades_bars_are_of_mids(tmp_path: Path) -> None:
    bbo = [(0, 9.0, 11.0), (500, 10.0, 14.0), (1_000, 10.0, 11.0)]
    files = quotes.find(recorded(tmp_path, bbo, []), ["BTCUSDT"])
    (first, _) = quotes.spans(files, 1_000)
    assert first[-1] == Bar("BTCUSDT", 0, 1_000, 10.0, 12.0, 10.0, 12.0, 0.0)


def test_start_and_end_cut_the_recording(tmp_path: Path) -> None:
    bbo = [(ms, 10.0, 11.0) for ms in range(0, 5_000, 500)]
    files = quotes.find(recorded(tmp_path, bbo, []), ["BTCUSDT"])
    found = [e for group in quotes.spans(files, 1_000, start_ms=1_000, end_ms=2_500) for e in group]
    assert [e.at_ms for e in found if isinstance(e, Quote)] == [1_000, 1_500, 2_000]


GOOD = [(ms, 10.0, 11.0) for ms in range(99)]


@pytest.mark.parametrize(
    ("bbo", "message"),
    [
        ([(5, 10.0, 11.0), (4, 10.0, 11.0)], "row 2: exch_ms goes back"),
        ([(5, 11.0, 11.0)], "1 of 1 rows .* row 1: .* time, bid and ask do not fit a quote"),
        ([(5, None, 11.0)], "row 1: "),
        ([(5, 10.0, 11.0), (None, 10.0, 11.0)], "row 2: .* time, bid and ask do not fit a quote"),
        # one row more than the 1 % that are left out
        ([*GOOD, (99, 12.0, 11.0), (99, 10.0, None)], "2 of 101 rows cannot .* More than 1 %"),
    ],
)
def test_a_recording_that_cannot_be_is_refused(
    tmp_path: Path, bbo: list[tuple[Any, Any, Any]], message: str
) -> None:
    files = quotes.find(recorded(tmp_path, bbo, []), ["BTCUSDT"])
    with pytest.raises(quotes.RecordingError, match=message):
        list(quotes.spans(files, 1_000))


@pytest.mark.parametrize(
    "bad",
    [(50, 12.0, 11.0), (50, None, 11.0), (None, 10.0, 11.0), (50, 10.0, float("inf"))],
    ids=["crossed", "no bid", "no time", "no end"],
)
def test_a_row_that_is_no_quote_is_left_out_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: tuple[Any, Any, Any]
) -> None:
    files = quotes.find(recorded(tmp_path, [*GOOD[:50], bad, *GOOD[50:]], []), ["BTCUSDT"])
    found = [e for group in quotes.spans(files, 1_000) for e in group if isinstance(e, Quote)]
    assert [(e.at_ms, e.bid, e.ask) for e in found] == GOOD
    (told,) = caplog.messages
    assert "day_btcusdt_bbo.parquet: 1 of 100 rows cannot be used; the first, row 51: (" in told


def test_a_time_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    table = pa.table(
        {"exch_ms": [dt.datetime(2024, 8, 8, tzinfo=dt.UTC)], "bid": [1.0], "ask": [2.0]}
    )
    pq.write_table(table, tmp_path / "btcusdt_bbo.parquet")
    with pytest.raises(quotes.RecordingError, match=r"exch_ms is timestamp.*epoch milliseconds"):
        next(quotes.spans(quotes.find(tmp_path, ["BTCUSDT"]), 1_000))


def named(folder: Path, **firsts: int) -> Path:
    """Write files of quotes of 10 ms by name, from a first time on."""
    for name, first_ms in firsts.items():
        rows = {"exch_ms": [first_ms, first_ms + 10], "bid": [10.0, 10.0], "ask": [11.0, 11.0]}
        pq.write_table(pa.table(rows), folder / f"{name}_bbo.parquet")
    return folder


def test_a_row_that_is_left_out_does_not_make_two_recordings_of_one(tmp_path: Path) -> None:
    named(tmp_path, btcusdt_20240808=10)
    rows = {"exch_ms": [0, 21], "bid": [None, 10.0], "ask": [None, 11.0]}
    pq.write_table(pa.table(rows), tmp_path / "btcusdt_20240809_bbo.parquet")
    assert len(quotes.find(tmp_path, ["BTCUSDT"])["BTCUSDT"]) == 2


def test_files_of_one_recording_follow_each_other(tmp_path: Path) -> None:
    folder = named(tmp_path, usdm_btcusdt_20240809=10, usdm_btcusdt_20240808=0)
    (group,) = quotes.spans(quotes.find(folder, ["BTCUSDT"]), 1_000)
    assert [e.at_ms for e in group if isinstance(e, Quote)] == [0, 10, 10, 20]


@pytest.mark.parametrize(
    ("firsts", "message"),
    [
        # two venues, though one begins where the other ends
        (
            {"okx_btcusdt": 0, "usdm_btcusdt": 10},
            "2 recordings, okx_btcusdt_bbo.parquet and usdm_btcusdt_bbo.parquet: name the folder",
        ),
        # one name, yet the same time twice
        ({"btcusdt_1": 0, "btcusdt_2": 9}, "_1_bbo.parquet and btcusdt_2_bbo.parquet tell of the"),
    ],
)
def test_two_recordings_of_a_symbol_are_not_mixed(
    tmp_path: Path, firsts: dict[str, int], message: str
) -> None:
    with pytest.raises(quotes.RecordingError, match=message):
        quotes.find(named(tmp_path, **firsts), ["BTCUSDT"])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"exch_ms": [1], "bid": [1.0]}), tmp_path / "btcusdt_bbo.parquet")
    with pytest.raises(quotes.RecordingError, match=r"no ETHUSDT_bbo\.parquet; it holds b"):
        quotes.find(tmp_path, ["ETHUSDT"])
    with pytest.raises(quotes.RecordingError, match="has no column ask"):
        next(quotes.spans(quotes.find(tmp_path, ["BTCUSDT"]), 1_000))


# ------------------------------------------------------------------- the whole engine on real ones


@pytest.fixture(scope="module")
def played(quotes_btc: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Let a strategy that changes its mind at random trade the recorded minutes, by seconds."""
    root = tmp_path_factory.mktemp("quotes")
    trading = {"max_orders_minute": 10_000, "max_orders_hour": 10_000, "maker_window_s": 4.0}
    result = backtest.replay(
        quotes.spans(quotes.find(quotes_btc, ["BTCUSDT"]), 1_000),
        [Restless(5, rate=0.2)],
        settings=Settings(home=root / "home", trading=trading),
        folder=root / "orders",
        seed=5,
        config=PaperConfig(latency_ms=LATENCY_MS, partial_rate=0.2),
    )
    return result, root / "orders"


def lines(folder: Path, name: str, event_type: str | None = None) -> list[Line]:
    path = folder / f"{name}.jsonl"
    found = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if event_type in (None, line.get("event_type"))]


def ms_of(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def test_cash_inventory_and_fees_balance_on_recorded_quotes(played: tuple[Result, Path]) -> None:
    result, folder = played
    fills = list({x["orderId"]: x for x in lines(folder, "orders_executed", "order_fill")}.values())
    assert len(fills) > 20
    cash, held = START_USD, 0.0
    for line in fills:
        signed = line["executedQty"] if line["side"] == "BUY" else -line["executedQty"]
        cash -= signed * line["avgPrice"] + line["fee_total"]
        held += signed
    assert held == pytest.approx(result.open_positions.get("BTCUSDT", 0.0), abs=1e-9)
    last_mid = (61659.7 + 61659.8) / 2  # the recording's last quote
    assert result.equity_end_usd == pytest.approx(cash + held * last_mid, abs=1e-6)
    closes = lines(folder, "orders_executed", "order_close")
    logged = sum(line["realizedPnlUsd"] for line in closes)
    assert len(closes) > 5
    assert logged == pytest.approx(
        fifo_pnl(lines(folder, "orders_executed", "order_fill")), abs=1e-6
    )


def test_every_attempt_on_recorded_quotes_has_one_outcome(played: tuple[Result, Path]) -> None:
    _, folder = played
    outcomes = lines(folder, "order_metrics")
    attempted = {x["attempt_id"] for x in lines(folder, "orders_attempted")}
    never_sent = {x["attempt_id"] for x in lines(folder, "risk_vetoes")} - {
        x["attempt_id"] for x in outcomes
    }
    assert Counter(x["attempt_id"] for x in outcomes) == dict.fromkeys(attempted - never_sent, 1)
    assert len(outcomes) > 20
    ways = Counter((x["started_maker"], x["used_fallback"]) for x in outcomes)
    assert min(ways[True, False], ways[True, True], ways[False, False]) > 2, ways


def test_makers_fill_at_their_price_and_only_where_the_market_traded_through(
    played: tuple[Result, Path], quotes_btc: Path
) -> None:
    _, folder = played
    files = {n: str(quotes_btc / f"usdm_btcusdt_20240808_{n}.parquet") for n in ("bbo", "trades")}
    with duckdb.connect() as con:
        prices = con.execute(
            "SELECT exch_ms, price, price FROM read_parquet($trades)"
            " UNION ALL SELECT exch_ms, ask, bid FROM read_parquet($bbo) ORDER BY 1",
            files,
        ).fetchall()
    acks = {
        x["orderId"]: x
        for x in lines(folder, "orders_executed", "order_ack")
        if x["timeInForce"] == "GTX"
    }
    firsts: dict[str, Line] = {}
    for line in lines(folder, "orders_executed", "order_fill"):
        if line["orderId"] in acks:
            firsts.setdefault(line["orderId"], line)
            assert line["avgPrice"] == pytest.approx(acks[line["orderId"]]["price"], rel=1e-12)
    assert 5 < len(firsts) < len(acks), "some fill and some do not"
    for order_id, fill in firsts.items():
        ack = acks[order_id]
        since_ms, until_ms = ms_of(ack["ts_ack"]) + LATENCY_MS, ms_of(fill["ts_fill_first"])
        between = [
            (asked, bid) for exch_ms, asked, bid in prices if since_ms <= exch_ms <= until_ms
        ]
        if ack["side"] == "BUY":
            assert min(asked for asked, _ in between) < ack["price"]
        else:
            assert max(bid for _, bid in between) > ack["price"]


def test_two_runs_of_the_command_with_one_seed_write_the_same_bytes(
    quotes_btc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for name in ("one", "two"):
        argv = ["--symbols", "BTCUSDT", "--quotes", str(quotes_btc), "--bar-seconds", "1"]
        argv += ["--strategy", "intraday", "--seed", "7"]
        assert (
            backtest.main([*argv, "--enable-telemetry", "--output-dir", str(tmp_path / name)]) == 0
        )
        assert "343 bars in" in capsys.readouterr().out
        (folder,) = (tmp_path / name).iterdir()
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert {"backtest.json", "order_metrics.jsonl", "traces_intraday_0.csv"} < written[0].keys()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "name either --bars or --quotes"),
        (["--bars", "b", "--quotes", "q"], "name either --bars or --quotes"),
        (["--quotes", "q", "--session", "us-equity"], "not with --interval or --session"),
        (["--quotes", "q", "--bar-seconds", "0"], "--bar-seconds 0: allowed are 0.1 to 86400"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        backtest.main(["--symbols", "BTCUSDT", *more])
    assert message in capsys.readouterr().err
