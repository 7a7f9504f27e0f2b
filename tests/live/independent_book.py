"""First in, first out, computed anew from log lines in plain Python.

Put here: what the engine's own books are compared with. Keep out: imports of the engine.
"""

from collections import defaultdict, deque
from typing import Any

Line = dict[str, Any]


def fifo_pnl(fills: list[Line]) -> float:
    """Return the realised PnL of order_fill lines, which are cumulative by order."""
    seen: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    lots: dict[tuple[str, str], deque[list[float]]] = defaultdict(deque)
    realized = 0.0
    for line in fills:
        qty_before, usd_before = seen[line["orderId"]]
        qty, usd = line["executedQty"], line["executedQty"] * line["avgPrice"]
        seen[line["orderId"]] = (qty, usd)
        step = qty - qty_before
        if step <= 1e-12:
            continue
        price = (usd - usd_before) / step
        signed = step if line["side"] == "BUY" else -step
        queue = lots[line["symbol"], line["positionSide"]]
        while queue and abs(signed) > 1e-9 and queue[0][0] * signed < 0:
            part = min(abs(signed), abs(queue[0][0]))
            direction = 1 if queue[0][0] > 0 else -1
            realized += direction * part * (price - queue[0][1])
            queue[0][0] -= direction * part
            signed += direction * part
            if abs(queue[0][0]) < 1e-9:
                queue.popleft()
        if abs(signed) > 1e-9:
            queue.append([signed, price])
    return realized
