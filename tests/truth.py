"""A generated log that tells all of its account, ways to leave things out of it, and its venue.

Put here: lines as Python values, what is dropped or added, the exports a venue would give.
Keep out: what the product makes of them.
"""

import csv
import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.demo.generate import STEMS

Line = dict[str, Any]
HOUR_MS = 3_600_000


def at_ms(line: Line) -> float:
    """Return when a line was written, epoch ms."""
    ts = line["ts"]
    return ts * 1000 if isinstance(ts, float) else datetime.fromisoformat(ts).timestamp() * 1000


@dataclass
class Log:
    """The lines of one executor by file stem."""

    lines: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, folder: Path) -> "Log":
        found = cls()
        for stem in STEMS:
            text = (folder / f"{stem}.jsonl").read_text("utf-8")
            found.lines[stem] = [json.loads(line) for line in text.splitlines()]
        return found

    def copy(self) -> "Log":
        return Log({stem: [json.loads(json.dumps(x)) for x in v] for stem, v in self.lines.items()})

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for stem in STEMS:
            text = "".join(json.dumps(line) + "\n" for line in self.lines[stem])
            (folder / f"{stem}.jsonl").write_text(text, "utf-8")
        return folder

    def drop(self, is_lost: Callable[[str, Line], bool]) -> "Log":
        """Take out lines; returns what was taken."""
        lost = Log()
        for stem in STEMS:
            lost.lines[stem] = [x for x in self.lines[stem] if is_lost(stem, x)]
            self.lines[stem] = [x for x in self.lines[stem] if not is_lost(stem, x)]
        return lost

    def drop_random(self, share: float, seed: int) -> int:
        """Take out a random share of all lines; returns how many."""
        places = [(stem, n) for stem in STEMS for n in range(len(self.lines[stem]))]
        lost = set(random.Random(seed).sample(places, max(1, round(share * len(places)))))
        for stem in STEMS:
            kept = [x for n, x in enumerate(self.lines[stem]) if (stem, n) not in lost]
            self.lines[stem] = kept
        return len(lost)

    def of(self, event_type: str) -> list[Line]:
        """Return the lines of orders_executed of one type."""
        return [x for x in self.lines["orders_executed"] if x.get("event_type") == event_type]

    def fills(self) -> list[Line]:
        """Return the last order_fill of each order: they are cumulative."""
        return list({x["orderId"]: x for x in self.of("order_fill")}.values())

    def attempts(self) -> list[Line]:
        """Return the router lines of attempts that filled."""
        return [
            x
            for x in self.lines["order_metrics"]
            if "event" not in x and x["result"]["status"] == "FILLED"
        ]


def signed(fill: Line) -> float:
    """Return the signed quantity of an order_fill."""
    qty: float = fill["executedQty"]
    return qty if fill["side"] == "BUY" else -qty


def _second(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def write_trades(log: Log, path: Path) -> int:
    """Write the trade history of a venue that knows these fills; returns its lines.

    Every second order is two trades.
    """
    header = (
        "Uid,Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,"
        "Trade ID,Order ID"
    )
    pnl = {x["orderId"]: x["realizedPnlUsd"] for x in log.of("order_close")}
    count = 0
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        for n, fill in enumerate(log.fills()):
            parts = (0.25, 0.75) if n % 2 else (1.0,)
            for part in parts:
                count += 1
                qty, px = fill["executedQty"] * part, fill["avgPrice"]
                writer.writerow(
                    [1, _second(fill["ts_fill_last"]), fill["symbol"], fill["side"], px, qty,
                     qty * px, f"{fill['fee_total'] * part}USDT",
                     pnl.get(fill["orderId"], 0) * part, True, False, count, fill["orderId"]]
                )  # fmt: skip
    return count


def write_income(log: Log, path: Path, funding: list[tuple[str, str, float]]) -> int:
    """Write the transaction history of that venue; returns its lines."""
    rows = [
        (_second(x["ts_close"]), "REALIZED_PNL", x["realizedPnlUsd"], x["symbol"])
        for x in log.of("order_close")
    ]
    rows += [
        (_second(x["ts_fill_last"]), "COMMISSION", -x["fee_total"], x["symbol"])
        for x in log.fills()
    ]
    rows += [(time, "FUNDING_FEE", amount, symbol) for time, symbol, amount in funding]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Time", "Type", "Amount", "Asset", "Symbol", "Transaction ID"])
        for n, (time, kind, amount, symbol) in enumerate(sorted(rows)):
            writer.writerow([time, kind, repr(amount), "USDT", symbol, n])
    return len(rows)
