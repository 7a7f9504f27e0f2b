"""Seeded schedules of faults: no order stands twice, none is larger than what was decided."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from live import journal
from live.attempt import Attempt
from live.venues import NewOrder
from live.venues.paper import PaperConfig
from tests.live.faulty import FaultyVenue, KilledError
from tests.live.independent_book import fifo_pnl
from tests.live.trading import Desk, Restless, walk

BARS = 36
CALM_BARS = 12  # without faults, at the end
SCHEDULES = 520
BATCH = 26
EPS = 1e-9


class Campaign:
    """One schedule: an engine over a walk, killed and started again whenever the schedule says."""

    def __init__(self, root: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seed = seed
        config = PaperConfig(latency_ms=40, partial_rate=0.5, queue_ms=40_000)
        self.desk = Desk(root, Restless(seed, rate=0.35), config=config, seed=seed)
        self.faulty = FaultyVenue(
            self.desk.paper, self.desk.clock, seed, rate=0.12, calm_after=10**9,
            on_create=self.on_create,
        )  # fmt: skip
        self.desk.venue = self.faulty
        self.owner: dict[str, tuple[str, str]] = {}  # client id → attempt, own or reduce
        self.limits: dict[tuple[str, str], float] = {}
        self.created: Counter[str] = Counter()
        self.kills = 0
        self.writes_to_kill = -1
        self._write = journal._write
        monkeypatch.setattr(journal, "_write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        """Write, unless the process dies in the middle of it."""
        if self.writes_to_kill == 0:
            self.writes_to_kill = -1
            if len(data) > 3:
                self._write(fd, data[: (self.seed * 7919) % len(data)])
            raise KilledError
        self.writes_to_kill -= self.writes_to_kill > 0
        return self._write(fd, data)

    def on_create(self, order: NewOrder) -> None:
        """Hold each order against its attempt: what stands and what comes may not exceed it."""
        self.created[order.client_id] += 1
        assert self.created[order.client_id] == 1, f"{order.client_id} was sent twice"
        attempt, kind = self.attempt_of(order.client_id)
        key = (attempt.attempt_id, kind)
        limit = attempt.reduce_qty if kind == "reduce" else attempt.qty
        self.owner[order.client_id] = key
        self.limits[key] = limit
        assert self.spoken_for(key, order) <= limit + EPS, (
            f"schedule {self.seed}: {order} on top of what stands exceeds {limit} of {key}"
        )

    def attempt_of(self, client_id: str) -> tuple[Attempt, str]:
        for attempt in self.desk.engine.executor._attempts.values():
            for leg in attempt.legs:
                if leg.client_id == client_id:
                    return attempt, "reduce" if leg.kind == "reduce" else "own"
        raise AssertionError(f"schedule {self.seed}: {client_id} belongs to no attempt")

    def spoken_for(self, key: tuple[str, str], new: NewOrder) -> float:
        """Return what the attempt has filled, has open, has under way, and now asks for."""
        total = new.qty
        waiting = {order.client_id: order.qty for order in self.faulty.under_way}
        for client_id, owner in self.owner.items():
            if owner == key and client_id != new.client_id:
                found = self.desk.paper.order("BTCUSDT", client_id)
                if found is not None:
                    total += found.filled_qty if found.is_terminal else found.qty
                else:
                    total += waiting.get(client_id, 0.0)
        return total

    def run(self) -> "Campaign":
        self.restart()
        for n, bar in enumerate(walk(self.seed, BARS + CALM_BARS)):
            if n == BARS:
                self.faulty._calm_after = 0
                self.writes_to_kill = -1
            elif n < BARS and n % 9 == self.seed % 9:
                self.writes_to_kill = (self.seed * 31 + n) % 13
            while not self.alive(lambda bar=bar: self.desk.engine.on_bar(bar)):
                self.restart()
                if self.desk.clock.true_ms >= bar.close_ms:
                    break
        return self

    def restart(self) -> None:
        while not self.alive(self.desk.start):
            pass

    def alive(self, call: Any) -> bool:
        try:
            call()
        except KilledError:
            self.kills += 1
            return False
        return True


def check(campaign: Campaign) -> None:
    """Hold what must hold at the end of a schedule, whatever it was."""
    desk, seed = campaign.desk, campaign.seed
    executor = desk.engine.executor
    assert executor.is_reconciled, f"schedule {seed}: {executor.summary()}"
    assert executor.lots.qty("BTCUSDT", "BOTH") == pytest.approx(desk.position, abs=EPS)

    for key, limit in campaign.limits.items():
        ids = [client_id for client_id, owner in campaign.owner.items() if owner == key]
        orders = [desk.paper.order("BTCUSDT", client_id) for client_id in ids]
        filled = sum([order.filled_qty for order in orders if order])
        assert filled <= limit + EPS, f"schedule {seed}: {key} filled {filled} of {limit}"

    ended = Counter(line["attempt_id"] for line in readable(desk, "order_metrics"))
    running = set(executor._attempts)
    sent = {attempt_id for attempt_id, _ in campaign.owner.values()} - running
    assert {a: ended[a] for a in sent} == dict.fromkeys(sent, 1), f"schedule {seed}"
    assert set(ended.values()) <= {1}

    events = readable(desk, "orders_executed")
    fills = [e for e in events if e["event_type"] == "order_fill"]
    closes = [e for e in events if e["event_type"] == "order_close"]
    open_ids = {leg.client_id for a in executor._attempts.values() for leg in a.legs}
    if not open_ids:
        logged = sum([close["realizedPnlUsd"] for close in closes])
        assert logged == pytest.approx(fifo_pnl(fills), abs=1e-6), f"schedule {seed}"


def readable(desk: Desk, name: str) -> list[dict[str, Any]]:
    """Return the whole lines of a log; half lines of kills are what the intake quarantines."""
    import json

    found = []
    path = desk.root / "logs" / f"{name}.jsonl"
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("batch", range(SCHEDULES // BATCH))
def test_no_fault_doubles_or_enlarges_an_order(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit: Counter[str] = Counter()
    kills = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        with monkeypatch.context() as patch:
            campaign = Campaign(tmp_path / str(seed), seed, patch).run()
            check(campaign)
        hit.update(campaign.faulty.hit)
        kills += campaign.kills
    assert kills >= BATCH, "the schedules killed almost nothing"
    assert {"lost", "answer_lost", "late", "hang", "drop", "skew", "reject"} <= set(hit)
