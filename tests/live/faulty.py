"""A venue between the engine and the paper venue that fails by a seeded schedule.

Put here: faults. Keep out: what must hold under them (test_faults.py).
"""

import random
from collections.abc import Callable
from typing import Any

from live.clock import SimulatedClock
from live.venues import NewOrder, Order, RetryError, SkipError
from live.venues.paper import PaperVenue

LATE_MS = 5_000
TIMEOUT_MS = 10_000


class KilledError(BaseException):
    """The process is gone; nothing of it runs any more."""


class FaultyVenue:
    """Passes calls on, unless the schedule says otherwise; after ``calm_after`` calls it behaves.

    ``on_create`` is told of every order that reaches or may yet reach the paper venue.
    """

    name = "paper"
    environment = "paper"
    is_hedged = False
    late_ms = LATE_MS

    def __init__(
        self,
        paper: PaperVenue,
        clock: SimulatedClock,
        seed: int,
        *,
        rate: float,
        calm_after: int,
        on_create: Callable[[NewOrder], None],
    ) -> None:
        self._paper = paper
        self._clock = clock
        self._rng = random.Random(seed)
        self._rate = rate
        self._calm_after = calm_after
        self._on_create = on_create
        self._late: list[tuple[int, NewOrder]] = []
        self._dead_calls = 0
        self.calls = 0
        self.hit: dict[str, int] = {}

    def instrument(self, symbol: str) -> Any:
        return self._paper.instrument(symbol)  # known once, then kept: no call

    def begin(self, bars: Any) -> None:
        self._deliver()
        self._paper.begin(bars)

    def next_event_ms(self) -> int | None:
        times = [due for due, _ in self._late]
        event = self._paper.next_event_ms()
        return min([*times, *([event] if event is not None else [])], default=None)

    def quote(self, symbol: str) -> Any:
        return self._call("quote", lambda: self._paper.quote(symbol))

    def order(self, symbol: str, client_id: str) -> Order | None:
        return self._call("order", lambda: self._paper.order(symbol, client_id))

    def open_orders(self) -> Any:
        return self._call("open_orders", self._paper.open_orders)

    def positions(self) -> Any:
        return self._call("positions", self._paper.positions)

    def account(self) -> Any:
        return self._call("account", self._paper.account)

    def server_ms(self) -> int:
        return self._call("server_ms", self._paper.server_ms)

    def cancel(self, symbol: str, client_id: str) -> None:
        self._call("cancel", lambda: self._paper.cancel(symbol, client_id))

    def create(self, order: NewOrder) -> Order:
        self._deliver()
        fault = self._fault("create")
        if fault == "reject":
            raise SkipError("refused by schedule", reason="rejected")
        if fault == "lost":
            raise RetryError("504 on create, and it never arrived")
        if fault == "late":
            self._on_create(order)
            due_ms = self._clock.true_ms + self._rng.randrange(1, LATE_MS)
            self._late.append((due_ms, order))
            raise RetryError("timeout on create, still under way")
        self._on_create(order)
        if fault == "kill_before":
            raise KilledError
        found = self._paper.create(order)
        if fault == "kill_after":
            raise KilledError
        if fault == "answer_lost":
            raise RetryError("503 on create, but it stands")
        return found

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        self._deliver()
        fault = self._fault(name)
        if fault in ("lost", "late", "reject"):
            raise RetryError(f"{name} was not answered")
        if fault == "kill_before":
            raise KilledError
        found = call()
        if fault == "kill_after":
            raise KilledError
        if fault == "answer_lost":
            raise RetryError(f"the answer of {name} was lost")
        return found

    def _fault(self, name: str) -> str | None:
        """Choose what goes wrong with this call."""
        self.calls += 1
        if self.calls > self._calm_after:
            self._clock.skew_ms = 0
            return None
        if self._dead_calls:
            self._dead_calls -= 1
            return "lost"
        rng = self._rng
        # what an order hangs on fails more often than what is asked every turn
        share = 1.0 if name in ("create", "cancel", "order") else 0.1
        if rng.random() > self._rate * share:
            return None
        fault = rng.choice(
            ["lost", "answer_lost", "late", "kill_before", "kill_after", "hang", "drop", "skew",
             "reject"]
        )  # fmt: skip
        self.hit[fault] = self.hit.get(fault, 0) + 1
        if fault == "hang":
            self._clock.wait_ms(TIMEOUT_MS)
            return rng.choice(["lost", "answer_lost"])
        if fault == "drop":
            self._dead_calls = rng.randrange(1, 40)
            return "lost"
        if fault == "skew":
            self._clock.skew_ms = rng.choice([-2_000, 2_000, 0])
            return None
        return fault

    def _deliver(self) -> None:
        """Let late create calls arrive that are due."""
        due = [order for at_ms, order in self._late if at_ms <= self._clock.true_ms]
        self._late = [(at, order) for at, order in self._late if at > self._clock.true_ms]
        for order in due:
            self._paper.create(order)

    @property
    def under_way(self) -> list[NewOrder]:
        return [order for _, order in self._late]
