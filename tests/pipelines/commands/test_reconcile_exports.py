"""`execintel reconcile` with a venue's exports: what agrees, and all that must not."""

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.pipelines.commands.desk import Desk

LOGS = {
    "order_metrics.jsonl": [
        '{"ts": 1767229261.889, "symbol": "WIFUSDT", "side": "BUY", "attempt_id": "a1", "prices":'
        ' {"mark": 0.4456, "avg_fill": 0.4455}, "qty": {"contracts": 1122.0}, "result": {"status":'
        ' "FILLED"}, "fees_usd": 0.1}',
        '{"ts": 1767232861.05, "symbol": "WIFUSDT", "side": "SELL", "attempt_id": "a2", "prices":'
        ' {"mark": 0.4471, "avg_fill": 0.447}, "qty": {"contracts": 1122.0}, "result": {"status":'
        ' "FILLED"}, "fees_usd": 0.25}',
    ],
    "orders_executed.jsonl": [
        '{"ts": 1767229261.889, "event_type": "order_fill", "symbol": "WIFUSDT", "side": "BUY",'
        ' "attempt_id": "a1", "orderId": "3", "executedQty": 1122.0, "avgPrice": 0.4455}',
        '{"ts": 1767232861.05, "event_type": "order_fill", "symbol": "WIFUSDT", "side": "SELL",'
        ' "attempt_id": "a2", "orderId": "4", "executedQty": 1122.0, "avgPrice": 0.447}',
        '{"ts": 1767232861.05, "event_type": "order_close", "symbol": "WIFUSDT", "side": "SELL",'
        ' "attempt_id": "a2", "orderId": "4", "closed_qty": 1122.0, "realizedPnlUsd": 1.683}',
    ],
}
FUNDING = '{"ts": 1767232000.0, "event_type": "funding", "symbol": "WIFUSDT", "funding_usd": -0.5}'

TRADES = "Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Order ID"
BUY = "2026-01-01 01:01:01,WIFUSDT,BUY,0.4455,1122,499.851,0.1USDT,0,3"
SELL = "2026-01-01 02:01:01,WIFUSDT,SELL,0.4470,1122,501.534,0.25USDT,1.683,4"

INCOME = "Time,Type,Amount,Asset,Symbol,Transaction ID"
FEES = (
    "2026-01-01 01:01:01,COMMISSION,-0.1,USDT,WIFUSDT,1",
    "2026-01-01 02:01:01,COMMISSION,-0.25,USDT,WIFUSDT,3",
)
FUNDED = "2026-01-01 01:46:40,FUNDING_FEE,-0.5,USDT,WIFUSDT,2"
PNL = "2026-01-01 02:01:01,REALIZED_PNL,1.683,USDT,WIFUSDT,4"
AGREES = "the logs tell every line of the export"


@pytest.fixture(scope="module")
def traded(shared_desk: Desk) -> Desk:
    """Publish one trade, its close and a funding payment that stands in two files."""
    for name, lines in LOGS.items():
        shared_desk.write(*(line + "\n" for line in lines), name=name)
    for name in ("orders_executed.jsonl", "orders_executed.2.jsonl"):
        shared_desk.write(FUNDING + "\n", name=name)
    result = shared_desk.refresh("--as-of", "2026-01-01T06:00:00Z")
    assert result.exit_code == 0, result.output
    assert shared_desk.ask("SELECT COUNT(*) AS n FROM raw_orders__events") == [{"n": 5}]
    return shared_desk


def held(desk: Desk, folder: Path, *more: str, **files: tuple[str, ...]) -> Result:
    """Call reconcile on files made of lines; --trades and --income are their names."""
    words = []
    for name, lines in files.items():
        path = folder / f"{name}.csv"
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        words += [f"--{name}", str(path)]
    return desk.run("reconcile", *words, *more)


def differences(result: Result) -> list[tuple[str, str, float | None, float | None]]:
    rows = json.loads(result.stdout)
    return [(x["what"], x["kind"], x["venue"], x["logs"]) for x in rows]


def test_what_agrees_is_said_with_the_kinds_and_the_time_of_each_file(
    traded: Desk, tmp_path: Path
) -> None:
    result = held(traded, tmp_path, trades=(TRADES, BUY, SELL))
    assert (result.exit_code, AGREES in result.stdout) == (0, True), result.output
    assert (
        "compared with trades.csv: fee, realized_pnl, trade, from 2026-01-01 01:01:01 to "
        "2026-01-01 02:01:02 UTC\nnot compared, as no file tells it: funding\n"
    ) in result.stdout


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # another price
        (
            {"trades": (TRADES, BUY.replace("0.4455", "0.9955"), SELL)},
            [("differs", "price", 0.9955, 0.4455)],
        ),
        # another order
        (
            {"trades": (TRADES, BUY.removesuffix("3") + "99", SELL)},
            [
                ("missing in the logs", "trade", 1122.0, None),
                ("only in the logs", "trade", None, 1122.0),
            ],
        ),
        # an asset that has no price
        (
            {"trades": (TRADES, BUY.replace("0.1USDT", "0.1BNB"), SELL)},
            [
                ("cannot be compared (BNB)", "fee", 0.1, None),
                ("only in the logs", "fee", None, 0.1),
            ],
        ),
        # the file has a column for PnL, and no line tells it
        (
            {"trades": (TRADES, BUY, SELL.replace("1.683", "0"))},
            [("only in the logs", "realized_pnl", None, 1.683)],
        ),
        # an export of one type: the other types count as told with nothing
        (
            {"income": (INCOME, *FEES)},
            [
                ("only in the logs", "funding", None, -0.5),
                ("only in the logs", "realized_pnl", None, 1.683),
            ],
        ),
        # a funding line that stands twice in the logs counts once
        ({"income": (INCOME, FEES[0], FUNDED, FEES[1], PNL)}, []),
        # the trades are of a shorter time: what was traded before is not missed
        ({"income": (INCOME, FEES[0], FUNDED, FEES[1], PNL), "trades": (TRADES, SELL)}, []),
        ({"income": (INCOME, FUNDED), "trades": (TRADES, BUY, SELL)}, []),
    ],
)
def test_each_difference_is_a_line_and_exit_code_1(
    traded: Desk,
    tmp_path: Path,
    files: dict[str, tuple[str, ...]],
    expected: list[tuple[str, str, float | None, float | None]],
) -> None:
    result = held(traded, tmp_path, "--format", "json", **files)
    assert differences(result) == expected
    assert result.exit_code == bool(expected)
    table = held(traded, tmp_path, **files)
    assert (table.exit_code, AGREES in table.stdout) == (bool(expected), not expected)


def test_amounts_of_different_assets_are_not_added_up(traded: Desk, tmp_path: Path) -> None:
    result = held(traded, tmp_path, trades=(TRADES, BUY.replace("0.1USDT", "0.1BNB"), SELL))
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "fee BNB 1 0.1 0 0 0" in rows
    assert "fee USD 1 0.25 2 0.35 1" in rows


@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_a_line_that_cannot_be_read_is_said_in_every_format(
    traded: Desk, tmp_path: Path, output: str
) -> None:
    lines = (TRADES, BUY, SELL, BUY.replace("0.4455", '"0,4455"'))
    result = held(traded, tmp_path, "--format", output, trades=lines)
    words = (
        "trades.csv:4 cannot be read: Price '0,4455' may have a decimal comma: export numbers with "
        "a decimal point, thousands without commas\n"
    )
    assert result.exit_code == 1
    assert words in (result.stdout if output == "table" else result.stderr)
    assert AGREES not in result.stdout
    if output == "json":
        assert json.loads(result.stdout) == []


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"trades": (TRADES,)}, "trades.csv holds no line that can be read; it has only a header"),
        (
            {"income": (INCOME, FUNDED), "trades": (TRADES,)},
            "trades.csv holds no line that can be read; it has only a header",
        ),
        (
            {"trades": (TRADES, BUY.replace("0.4455", "much"))},
            "trades.csv holds no line that can be read; line 2: Price 'much' is no number",
        ),
        (
            {"income": (INCOME, "2026-01-01 03:00:00,COMMISSION,0,USDT,WIFUSDT,9")},
            "the export names no amount but 0: there is nothing to compare",
        ),
    ],
)
def test_where_nothing_was_compared_nothing_agrees(
    traded: Desk, tmp_path: Path, files: dict[str, tuple[str, ...]], why: str
) -> None:
    result = held(traded, tmp_path, **files)
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr


def test_a_file_in_another_encoding_is_one_line(traded: Desk, tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(f"{TRADES}\n{BUY}\n{SELL}\n", "utf-16")
    result = traded.run("reconcile", "--trades", str(path))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"error: {path} is no text in UTF-8" in result.stderr
