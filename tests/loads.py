"""Generated logs for tests of the whole path, and digests of everything that a refresh leaves.

Put here: lines in the shapes the executor writes, settings over them, digests of a home.
Keep out: the demonstration's generator (pipelines/demo), which shows what real logs look like.
"""

import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from features import catalog
from features.digest import table_digest
from features.engines import duckdb as engine
from features.lake import Lake
from features.settings import Settings
from features.snapshot import Store
from pipelines.intake.kinds import RAW_TABLES
from pipelines.refresh import Refresh

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
START_MS = 1_762_128_000_000  # 2025-11-03T00:00:00Z
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
ROUTER, ORDERS = "order_metrics.jsonl", "orders_executed.jsonl"
ATTEMPTS, VETOES = "orders_attempted.jsonl", "risk_vetoes.jsonl"
# Which run read a line, and when, depends on how the logs were fed; nothing else may.
FEEDING_COLUMNS = ("ingest_seq", "ingested_ms")


@dataclass(frozen=True)
class Line:
    """One log line and the file it stands in."""

    file: str
    text: str


def line(file: str, **fields: object) -> Line:
    return Line(file, json.dumps(fields) + "\n")


def router_line(
    attempt_id: str,
    symbol: str,
    event_ms: int,
    *,
    status: str = "FILLED",
    mark: float = 100.0,
    fill: float = 100.0,
    qty: float = 1.0,
    side: str = "BUY",
) -> Line:
    return line(
        ROUTER,
        attempt_id=attempt_id,
        intent_id=f"ord_{attempt_id}",
        venue="binance_futures",
        route="market",
        symbol=symbol,
        side=side,
        ts=event_ms / 1000,
        prices={"mark": mark, "submitted": mark, "avg_fill": fill},
        qty={"contracts": qty, "notional_usd": round(qty * fill, 6)},
        timing_ms={"decision": None, "submit": None, "ack": round(mark % 97, 3), "fill": 0.0},
        result={"status": status, "retries": 0, "cancelled": status == "CANCELED"},
        fees_usd=round(qty * fill * 0.0005, 8),
        slippage_bps=0.0,
    )


def order_line(kind: str, attempt_id: str, symbol: str, event_ms: int, **fields: object) -> Line:
    return line(
        ORDERS,
        event_type=kind,
        symbol=symbol,
        attempt_id=attempt_id,
        venue="binance_futures",
        ts=event_ms / 1000,
        **fields,
    )


def close_line(
    attempt_id: str, symbol: str, event_ms: int, *, pnl: float, order_id: int, qty: float = 1.0
) -> Line:
    return order_line(
        "order_close",
        attempt_id,
        symbol,
        event_ms,
        ts_close=event_ms / 1000,
        orderId=order_id,
        realizedPnlUsd=pnl,
        fees_total=0.01,
        closed_qty=qty,
        position_size_before=qty,
        position_size_after=0.0,
        positionSide="LONG",
    )


def fill_line(
    attempt_id: str, symbol: str, event_ms: int, *, order_id: int, qty: float, price: float
) -> Line:
    return order_line(
        "order_fill",
        attempt_id,
        symbol,
        event_ms,
        side="BUY",
        orderId=order_id,
        executedQty=qty,
        avgPrice=price,
        fee_total=round(qty * price * 0.0005, 8),
        feeAsset="USDT",
        status="FILLED",
        positionSide="LONG",
        ts_fill_first=event_ms / 1000,
        ts_fill_last=event_ms / 1000,
    )


def intent_line(attempt_id: str, symbol: str, event_ms: int, *, price: float) -> Line:
    return line(
        ATTEMPTS,
        event_type="order_attempt",
        attempt_id=attempt_id,
        intent_id=f"ord_{attempt_id}",
        symbol=symbol,
        venue="binance_futures",
        side="BUY",
        strategy="swing",
        qty=1.0,
        price_hint=price,
        ts=event_ms / 1000,
        local_ts=(event_ms - 40) / 1000,
        confidence=0.6,
        nav_snapshot={"nav_usd": 2500.0, "gross_usd": 100.0, "symbol_gross_usd": 10.0},
    )


def veto_line(attempt_id: str, symbol: str, event_ms: int) -> Line:
    return line(
        VETOES,
        event_type="risk_veto",
        attempt_id=attempt_id,
        symbol=symbol,
        venue="binance_futures",
        veto_reason="leverage_cap",
        ts=event_ms / 1000,
    )


def error_line(symbol: str, event_ms: int) -> Line:
    return line(
        ORDERS,
        event_type="order_error",
        symbol=symbol,
        venue="binance_futures",
        exc="502 Bad Gateway",
        ts=event_ms / 1000,
    )


def tangled_lines(seed: int, *, attempts: int = 60, days: int = 6) -> list[Line]:
    """Return lines over ``days`` days that hang together in every way that real ones do.

    Retries, ids used again after more than a day, acknowledgements and closes up to 30 hours late,
    closes without an attempt, orders refused or never heard of, partial fills, bad lines.
    """
    dice = random.Random(seed)
    made: list[Line] = []
    used: list[tuple[str, str, int]] = []
    for number in range(attempts):
        event_ms = START_MS + dice.randrange(days * DAY_MS)
        attempt_id, symbol = f"sig_{number:05d}", dice.choice(SYMBOLS)
        if used and dice.random() < 0.3:
            attempt_id, symbol, before_ms = dice.choice(used)
            event_ms = before_ms + dice.choice((-1, 1)) * dice.randrange(30 * HOUR_MS, 60 * HOUR_MS)
        used.append((attempt_id, symbol, event_ms))
        made += _attempt(dice, attempt_id, symbol, event_ms, number)
    made.append(Line(ROUTER, '{"symbol": "BTCUSDT", "ts": "nonsense"}\n'))
    made.append(Line(ORDERS, '{"event_type": "order_ack", "half": \n'))
    return made


def _attempt(
    dice: random.Random, attempt_id: str, symbol: str, event_ms: int, number: int
) -> list[Line]:
    mark = round(dice.uniform(50, 150), 4)
    fill = round(mark * (1 + dice.uniform(-2e-3, 2e-3)), 6)
    qty = round(dice.uniform(0.01, 2), 4)
    made = []
    if dice.random() < 0.7:
        made.append(intent_line(attempt_id, symbol, event_ms - dice.randrange(5000), price=mark))
    kind = dice.random()
    if kind < 0.08:
        return [*made, veto_line(attempt_id, symbol, event_ms)]
    if kind < 0.12:
        return [*made, error_line(symbol, event_ms)]
    if kind < 0.9:  # the others are closes without an attempt
        status = dice.choice(
            ("FILLED", "FILLED", "NEW", "CANCELED", "PARTIALLY_FILLED", "REJECTED")
        )
        is_known = status in ("FILLED", "PARTIALLY_FILLED")
        made.append(
            router_line(
                attempt_id,
                symbol,
                event_ms,
                status=status,
                mark=mark,
                fill=fill if is_known else 0.0,
                qty=qty if is_known else 0.0,
            )
        )
        if dice.random() < 0.25:  # a retry, seen again up to 20 hours away
            again_ms = event_ms + dice.randrange(-20 * HOUR_MS, 20 * HOUR_MS)
            made.append(
                router_line(
                    attempt_id, symbol, again_ms, status="NEW", mark=mark, fill=0.0, qty=0.0
                )
            )
        if dice.random() < 0.5:
            late_ms = dice.choice((200, 23 * HOUR_MS, 30 * HOUR_MS))
            made.append(
                order_line("order_ack", attempt_id, symbol, event_ms + late_ms, orderId=number)
            )
        for _ in range(dice.choice((0, 1, 1, 2))):
            late_ms = dice.randrange(1, 2 * HOUR_MS)
            made.append(
                fill_line(
                    attempt_id, symbol, event_ms + late_ms, order_id=number, qty=qty, price=fill
                )
            )
    for _ in range(dice.choice((0, 1, 1, 2)) if kind < 0.9 else 1):
        late_ms = dice.choice((dice.randrange(1, HOUR_MS), dice.randrange(1, 30 * HOUR_MS)))
        made.append(
            close_line(
                attempt_id,
                symbol,
                event_ms + late_ms,
                pnl=round(dice.uniform(-3, 3), 5),
                order_id=number * 10 + dice.randrange(3),
                qty=qty,
            )
        )
    return made


def bulk_load(folder: Path, *, attempts: int, days: int = 7, first: int = 0) -> int:
    """Append a regular load of about four lines an attempt; returns the number of lines.

    ``first`` numbers the attempts, so that loads of one folder do not share ids.
    """
    dice = random.Random(first)
    folder.mkdir(parents=True, exist_ok=True)
    step_ms = days * DAY_MS // attempts
    count = 0
    with (
        (folder / ROUTER).open("a") as router,
        (folder / ORDERS).open("a") as orders,
        (folder / ATTEMPTS).open("a") as asked,
        (folder / VETOES).open("a") as vetoes,
    ):
        files = {ROUTER: router, ORDERS: orders, ATTEMPTS: asked, VETOES: vetoes}
        for number in range(attempts):
            event_ms = START_MS + number * step_ms + dice.randrange(step_ms)
            symbol, id_n = SYMBOLS[number % len(SYMBOLS)], first + number
            for made in _attempt(dice, f"sig_{id_n:08d}", symbol, event_ms, id_n):
                files[made.file].write(made.text)
                count += 1
    return count


def append(folder: Path, lines: Iterable[Line]) -> None:
    """Append lines to the log files they belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, list[str]] = defaultdict(list)
    for each in lines:
        texts[each.file].append(each.text)
    for name, parts in texts.items():
        with (folder / name).open("a") as file:
            file.writelines(parts)


def settings_over(logs: Path, home: Path, **more: object) -> Settings:
    values: dict[str, object] = {"home": home, "log_dir": logs, **more}
    return Settings.model_validate(values)


@contextmanager
def core_up_to_date(
    settings: Settings, as_of_ms: int, *, now_ms: int | None = None
) -> Iterator[Refresh]:
    """Yield a refresh that has read what is new and rebuilt the core tables, and no more."""
    run = Refresh(settings, as_of_ms=as_of_ms, now_ms=now_ms)
    try:
        run.prepare()
        run.read()
        run.rebuild_core()
        yield run
    finally:
        run.close()


def keep_aside(root: Path) -> None:
    """Copy a data root and its logs, so that put_back can undo what a test does to them."""
    shutil.copytree(root, root.with_name(f"{root.name}_aside"))


def put_back(root: Path) -> None:
    """Make a root what it was at keep_aside, in its own place: manifests name files by path."""
    shutil.rmtree(root)
    shutil.copytree(root.with_name(f"{root.name}_aside"), root)


def lake_digests(home: Path, *, two_threads: bool = False) -> dict[str, str]:
    """Digest every raw and core table, leaving out FEEDING_COLUMNS."""
    lake = Lake(home / "lake")
    digests = {}
    con = engine.connect()
    if two_threads:
        con.execute("SET threads = 2")
    core = {t.name: t.grain for t in catalog.stored()}
    grains = dict.fromkeys(RAW_TABLES, ("source_id", "line_offset")) | core
    for name, grain in grains.items():
        engine.create_view(con, name, lake.open(name))
        kept = f"(SELECT * EXCLUDE ({', '.join(FEEDING_COLUMNS)}) FROM {name})"
        digests[name] = table_digest(con, kept if name in RAW_TABLES else name, grain)
    con.close()
    return digests


def feature_digests(home: Path) -> dict[str, str]:
    """Return the digests of CURRENT's feature tables, by its manifest."""
    store = Store(home / "snapshots")
    tables = store.manifest(store.resolve(None))["tables"]
    return {name: table["sha256"] for name, table in tables.items()}


def all_digests(home: Path) -> dict[str, str]:
    return lake_digests(home) | feature_digests(home)
