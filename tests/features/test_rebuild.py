"""Rebuilding only what new rows touch gives the tables of a rebuild of everything."""

import random
from collections import Counter
from pathlib import Path

import pytest

from features import rebuild
from features.lake import Lake, data_files
from pipelines.refresh import RefreshReport, refresh
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    ORDERS,
    ROUTER,
    START_MS,
    Line,
    all_digests,
    append,
    bulk_load,
    close_line,
    fill_line,
    intent_line,
    order_line,
    router_line,
    settings_over,
    tangled_lines,
    veto_line,
)

AS_OF_MS = START_MS + 7 * DAY_MS - HOUR_MS // 2


def run(logs: Path, home: Path, **more: object) -> RefreshReport:
    return refresh(settings_over(logs, home, **more), as_of_ms=AS_OF_MS, now_ms=AS_OF_MS + HOUR_MS)


def fed_in_pieces(root: Path, pieces: list[list[Line]]) -> dict[str, str]:
    """Refresh after each piece; returns the digests of everything."""
    for piece in pieces:
        append(root / "logs", piece)
        report = run(root / "logs", root / "pieces")
        assert report.outcome == "published", [c.examples for c in report.built.failed]
    return all_digests(root / "pieces")


def fed_at_once(root: Path, home: str = "whole") -> dict[str, str]:
    report = run(root / "logs", root / home)
    assert report.outcome == "published", [c.examples for c in report.built.failed]
    return all_digests(root / home)


def cut(lines: list[Line], pieces: int) -> list[list[Line]]:
    size = -(-len(lines) // pieces)
    return [lines[start : start + size] for start in range(0, len(lines), size)]


@pytest.mark.parametrize("seed", range(6))
def test_lines_in_any_order_and_any_pieces_give_the_tables_of_one_refresh(
    tmp_path: Path, seed: int
) -> None:
    lines = tangled_lines(seed)
    random.Random(seed + 1000).shuffle(lines)
    assert fed_in_pieces(tmp_path, cut(lines, 8)) == fed_at_once(tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_more_orders_and_pieces_give_the_tables_of_one_refresh(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    lines = tangled_lines(seed, attempts=dice.choice((8, 30, 120)), days=dice.choice((2, 4, 7)))
    dice.shuffle(lines)
    assert fed_in_pieces(tmp_path, cut(lines, dice.choice((3, 12, 25)))) == fed_at_once(tmp_path)


T = START_MS + 3 * DAY_MS + 5 * HOUR_MS
KNOT = "sig_1"
FILL = fill_line(KNOT, "BTCUSDT", T + 900, order_id=1, qty=1.0, price=100.0)
# Orders of arrival that once gave, or could give, other rows than one refresh over everything.
ARRIVALS: dict[str, list[list[Line]]] = {
    "a close in the next day than its attempt": [
        [router_line(KNOT, "BTCUSDT", T + 18 * HOUR_MS)],
        [close_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, pnl=2.0, order_id=7)],
    ],
    "an attempt that arrives after its close": [
        [close_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, pnl=2.0, order_id=7)],
        [router_line(KNOT, "BTCUSDT", T + 18 * HOUR_MS)],
    ],
    "an acknowledgement a day after": [
        [router_line(KNOT, "BTCUSDT", T, status="NEW", fill=0.0, qty=0.0)],
        [order_line("order_ack", KNOT, "BTCUSDT", T + 23 * HOUR_MS, orderId=1)],
    ],
    "an id used again after two days, its close between them": [
        [router_line(KNOT, "BTCUSDT", T)],
        [close_line(KNOT, "BTCUSDT", T + 23 * HOUR_MS, pnl=1.0, order_id=7)],
        [router_line(KNOT, "BTCUSDT", T + 46 * HOUR_MS)],
    ],
    "a terminal retry that takes the place of an attempt on another day": [
        [router_line(KNOT, "BTCUSDT", T, status="NEW", fill=0.0, qty=0.0)],
        [router_line(KNOT, "BTCUSDT", T - 20 * HOUR_MS)],
    ],
    "a later line that frees a close from its attempt": [
        [
            router_line(KNOT, "BTCUSDT", T),
            close_line(KNOT, "BTCUSDT", T - 20 * HOUR_MS, pnl=1.0, order_id=7),
        ],
        [router_line(KNOT, "BTCUSDT", T + 22 * HOUR_MS)],
    ],
    "an order log that begins after the attempts": [
        [router_line(KNOT, "BTCUSDT", T)],
        [order_line("order_ack", "sig_2", "ETHUSDT", T + 20 * HOUR_MS, orderId=2)],
        [order_line("order_ack", "sig_3", "ETHUSDT", T - 20 * HOUR_MS, orderId=3)],
    ],
    "a veto and a routing after the order was asked for": [
        [intent_line(KNOT, "BTCUSDT", T - 1000, price=100.0)],
        [veto_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS)],
        [router_line(KNOT, "BTCUSDT", T + 10 * HOUR_MS)],
    ],
    "an order asked for again, the second time after a day": [
        [intent_line(KNOT, "BTCUSDT", T, price=100.0)],
        [intent_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, price=101.0)],
        [intent_line(KNOT, "BTCUSDT", T + 45 * HOUR_MS, price=102.0)],
    ],
    "the same lines again": [[router_line(KNOT, "BTCUSDT", T), FILL], [FILL], [FILL]],
    "two closes of one millisecond with other position sizes": [
        [router_line(KNOT, "BTCUSDT", T), close_line(KNOT, "BTCUSDT", T + 9, pnl=1, order_id=7)],
        [close_line(KNOT, "BTCUSDT", T + 9, pnl=2, order_id=8, qty=0.5)],
    ],
}


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrival_in_pieces_gives_the_tables_of_one_refresh(tmp_path: Path, name: str) -> None:
    assert fed_in_pieces(tmp_path, ARRIVALS[name]) == fed_at_once(tmp_path)
