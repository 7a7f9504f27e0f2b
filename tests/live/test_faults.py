"""Seeded schedules of faults: no order stands twice, none is larger than what was decided."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from live.market import Direction
from live.trading import journal
from live.trading.attempt import Attempt
from live.venues import NewOrder
from live.venues.paper import PaperConfig
from tests.live.faulty import FaultyVenue, KilledError
from tests.live.independent_book import fifo_pnl
from tests.live.trading import Desk, Restless, Script, bar, walk

BARS = 36
CALM_BARS = 12  # without faults, at the end
SCHEDULES = 520
BATCH = 26
EPS = 1e-9
P = 100_000.0
DIP = (P, P, 99_900.0, P)  # trades through a bid a few bps below


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
        for n, one in enumerate(walk(self.seed, BARS + CALM_BARS)):
            if n == BARS:
                self.faulty._calm_after = 0
                self.writes_to_kill = -1
            elif n < BARS and n % 9 == self.seed % 9:
                self.writes_to_kill = (self.seed * 31 + n) % 13
            while not self.alive(lambda one=one: self.desk.engine.on_bar(one)):
                self.restart()
                if self.desk.clock.true_ms >= one.close_ms:
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


# -- one fallback, every call of it ---------------------------------------------------------------


class At(FaultyVenue):
    """A venue whose n-th call fails in one given way, and no other."""

    def __init__(self, desk: Desk, n: int, fault: str, on_create: Any) -> None:
        super().__init__(desk.paper, desk.clock, 0, rate=0.0, calm_after=10**9, on_create=on_create)
        self.n, self.fault, self.names = n, fault, list[str]()

    def _fault(self, name: str) -> str | None:
        self.calls += 1
        self.names.append(name)
        if self.calls != self.n:
            return None
        if self.fault == "skew":
            self._clock.skew_ms = 2_000
            return None
        return self.fault


MANNERS = ("kill_before", "kill_after", "lost", "answer_lost", "late", "skew")


@pytest.mark.parametrize("fault", MANNERS)
def test_each_call_of_a_fallback_may_fail(tmp_path: Path, fault: str) -> None:
    """Quote, fill in part, cancel, take the rest, then close: fail at every call of it in turn."""
    config = PaperConfig(partial_rate=1.0, queue_ms=10**9)
    failed: list[str] = []
    for n in range(1, 200):
        says: dict[int, Direction] = {0: "LONG", **dict.fromkeys(range(5, 20), "NOOP")}
        desk = Desk(tmp_path / str(n), Script(says), config=config, maker_min_fill=1.0)
        asked: list[NewOrder] = []
        venue = desk.venue = At(desk, n, fault, asked.append)
        for bar_n in range(22):
            if bar_n in (4, 10, 15):
                desk.clock.skew_ms = 0  # somebody mends the clock: until then nothing is sent
            if bar_n == 20:
                if venue.calls < n:
                    break
                venue.n = 0  # two bars in which everything can end
            one = bar("BTCUSDT", bar_n, *(DIP if bar_n == 1 else [P]))
            try:
                if bar_n == 0:
                    desk.start()
                desk.engine.on_bar(one)
            except KilledError:
                desk.start()
        if venue.n:
            break  # there is no n-th call
        failed.append(venue.names[n - 1])
        sizes = [order.qty for order in asked if order.side == "BUY"]
        filled = [desk.paper.order("BTCUSDT", order.client_id) for order in asked]
        bought = sum([x.filled_qty for x in filled if x and x.side == "BUY"])
        assert max(sizes, default=0.0) <= 0.01 + EPS, f"call {n}: {sizes}"
        assert bought <= 0.01 + EPS, f"call {n} ({venue.names[n - 1]}) bought {bought}"
        assert desk.position == pytest.approx(0.0, abs=EPS), f"call {n}: not closed"
        assert desk.paper.open_orders() == []
        ended = Counter(line["attempt_id"] for line in desk.outcomes())
        assert set(ended.values()) <= {1}
        assert desk.engine.executor.is_reconciled
    assert {"create", "cancel", "order", "quote", "positions", "account"} <= set(failed)
    assert len(failed) > 40
