"""Losing data never increases an order: whatever befalls the snapshots, in whatever order."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from live.reader import SnapshotReader
from live.snapshot.acting import SAFE, Acting
from live.snapshot.reading import ReaderEvent, Reading
from live.v510 import of_reading
from tests.live import files
from tests.live.files import T, line

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MAX_AGE_S = 900.0
MEMORY_MS = 7 * 86_400_000
QUALITIES = ["broken", "degraded", "unknown", "ok", "good"]  # from tight to loose
BIASES = ["prefer_taker", "balanced", "prefer_maker"]
MAKER_FIRST = [False, None, True]
# What a line may come to lack: a part, or a field of a part.
NULLABLE = (
    "score", "size", "regime", "router", "policy", "risk", "offsets_bps", "hourly",
    "score.sharpe", "score.atr_ratio", "score.dd_pct", "score.fee_bps",
    "size.final_size_factor", "size.regime_scale", "size.intel_size_factor",
    "regime.regime", "regime.atr_source",
    "router.fallback_ratio", "router.maker_fill_ratio", "router.slip_q50",
    "policy.quality", "policy.taker_bias", "policy.maker_first",
)  # fmt: skip

values = st.builds(
    lambda factor, scale, offsets, quality, maker_first, bias: {
        "size": {"final_size_factor": factor, "regime_scale": scale},
        "offsets_bps": offsets,
        "policy": {"quality": quality, "maker_first": maker_first, "taker_bias": bias},
    },
    st.floats(0.25, 2.0),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.one_of(
        st.floats(0.5, 8.0).map(lambda bps: [bps] * 24),
        st.lists(st.floats(0.5, 8.0), min_size=24, max_size=24),
    ),
    st.sampled_from(QUALITIES),
    st.sampled_from(MAKER_FIRST),
    st.sampled_from(BIASES),
)
lost_columns = st.lists(st.sampled_from(NULLABLE), unique=True, max_size=4)
published = st.tuples(
    st.just("publish"),
    st.tuples(values, values),
    st.one_of(st.just([]), lost_columns),  # of the first symbol
    st.sampled_from(["ok", "ok", "ok", "insufficient"]),
    st.sampled_from([(), (), (), SYMBOLS[:1], SYMBOLS]),  # symbols that it lacks
    st.sampled_from([0, 0, 0, 600, 5_000, -100]),  # seconds that it was late; or from the future
)
faults = st.one_of(
    st.tuples(st.just("wait"), st.one_of(st.floats(0.2, 5_000), st.just(8 * 86_400.0))),
    st.tuples(st.just("clock back"), st.one_of(st.floats(0.2, 5_000), st.just(8 * 86_400.0))),
    st.tuples(st.just("truncate"), values, st.floats(0, 0.999)),
    st.tuples(st.just("flip"), values, st.floats(0, 0.999)),
    st.tuples(st.just("other environment"), values),
    st.tuples(st.just("name nothing"), st.sampled_from(["", "x", "..", "20990101T000000Z-0"])),
    st.tuples(st.just("roll back"), st.integers(0, 20)),
    st.tuples(st.just("remove current")),
)


class World:
    """A root that things happen to, and what a trader may rely on there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = T
        self.whole: dict[str, dict[str, Any]] = {}  # snapshot id -> symbol -> line
        self.as_of_ms: dict[str, int] = {}
        self.serial = 0
        self.in_force: str | None = None  # what a reader should serve
        self.said: list[ReaderEvent] = []
        self.reader = SnapshotReader(
            root, environment="paper", max_age_s=MAX_AGE_S, clock=lambda: self.now_s,
            on_event=self.said.append,
        )  # fmt: skip

    def name(self) -> str:
        self.serial += 1
        return f"20251105T{self.serial:06d}Z-abcdef01"

    def publish(
        self,
        symbol_values: tuple[dict[str, Any], dict[str, Any]],
        lost: list[str],
        status: str,
        absent: tuple[str, ...],
        late_s: int,
    ) -> None:
        name = self.name()
        lines = {s: line(s, **v) for s, v in zip(SYMBOLS, symbol_values, strict=True)}
        for path in lost:
            part, _, column = path.partition(".")
            held = lines[SYMBOLS[0]]
            if not column:
                held[part] = None
            elif held[part] is not None:
                held[part] = {**held[part], column: None}
        lines[SYMBOLS[0]]["status"] = status
        lines = {s: v for s, v in lines.items() if s not in absent}
        as_of_ms = round((self.now_s - late_s) * 1000)
        files.publish(self.root, name, lines.values(), as_of_ms=as_of_ms)
        self.whole[name] = {s: {**v, "as_of_ms": as_of_ms} for s, v in lines.items()}
        self.as_of_ms[name] = as_of_ms
        self.in_force = name

    def is_forgotten(self, reading: Reading | None) -> bool:
        """Tell whether a fresh snapshot in force is newer than a reading by the whole memory."""
        if reading is None or reading.as_of_ms is None or self.in_force is None:
            return True
        as_of_ms = self.as_of_ms[self.in_force]
        is_fresh = 0 <= self.now_s - as_of_ms / 1000 <= MAX_AGE_S
        return is_fresh and as_of_ms - reading.as_of_ms > MEMORY_MS

    def befall(self, step: tuple[Any, ...]) -> None:
        """Let one thing happen."""
        kind, *rest = step
        event(kind)
        if kind == "publish":
            self.publish(*rest)
        elif kind == "wait":
            self.now_s += rest[0]
        elif kind == "clock back":
            self.now_s -= rest[0]
        elif kind == "remove current":
            (self.root / "CURRENT").unlink(missing_ok=True)
        elif kind == "name nothing":
            files.name_current(self.root, rest[0])
        elif kind == "roll back":
            if self.whole:
                self.in_force = list(self.whole)[rest[0] % len(self.whole)]
                files.name_current(self.root, self.in_force)
        else:
            self.damage(kind, *rest)

    def damage(self, kind: str, bold: dict[str, Any], where: float = 0.0) -> None:
        """Publish a bold snapshot that nobody may trust."""
        name = self.name()
        data = files.snapshot_bytes(
            name, [line(SYMBOLS[0], **bold)], as_of_ms=round(self.now_s * 1000),
            environment="live" if kind == "other environment" else "paper",
        )  # fmt: skip
        at = int(where * len(data))
        if kind == "truncate":
            data = data[:at]
        elif kind == "flip":
            data = data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :]
            header_end = data.find(b"\n")
            if at > header_end >= 0 and at != len(data) - 1:
                # The index is whole: this snapshot is in force, with one line that is not.
                self.whole[name] = {}
                self.as_of_ms[name] = round(self.now_s * 1000)
                self.in_force = name
        files.write(self.root, name, data)
        files.name_current(self.root, name)


def is_bolder(acting: Acting, good: Acting) -> bool:
    return (
        acting.size_factor > good.size_factor
        or any(a < g for a, g in zip(acting.offsets_bps, good.offsets_bps, strict=True))
        or QUALITIES.index(acting.quality) > QUALITIES.index(good.quality)
        or BIASES.index(acting.taker_bias) > BIASES.index(good.taker_bias)
        or MAKER_FIRST.index(acting.maker_first) > MAKER_FIRST.index(good.maker_first)
    )


def own_values(values: dict[str, Any]) -> Acting:
    policy = values["policy"]
    return Acting(
        values["size"]["final_size_factor"],
        tuple(values["offsets_bps"]),
        policy["quality"],
        policy["maker_first"],
        policy["taker_bias"],
    )


def inputs(values: dict[str, Any]) -> set[str]:
    """Name what size, offset and policy were computed from; a part by its columns alone."""
    found = {name for name in ("offsets_bps", "hourly") if values[name] is not None}
    for path in NULLABLE:
        part, _, column = path.partition(".")
        if column and values[part] and values[part].get(column) is not None:
            found.add(path)
    return found - {"policy.maker_first"}  # None leaves it to the strategy


def require_sound(
    world: World, symbol: str, reading: Reading, good: Reading | None, whole: Reading | None
) -> None:
    """Hold a reading against what was really published, what was last good and last whole."""
    if reading.status == "ok":
        assert reading.snapshot_id is not None
        assert reading.age_s is not None
        values = world.whole[reading.snapshot_id][symbol]
        assert 0 <= reading.age_s <= MAX_AGE_S
        assert values["status"] == "ok"
        assert reading.acting == own_values(values)  # the snapshot's, from one snapshot
        assert not reading.reduce_only
        if good is not None and good.snapshot_id is not None:
            assert inputs(world.whole[good.snapshot_id][symbol]) <= inputs(values)
        return
    acting = reading.acting
    assert acting.size_factor <= 1.0
    assert min(acting.offsets_bps) >= 2.0
    if reading.status == "unknown":
        assert not is_bolder(acting, SAFE)
    if good is not None:
        assert not is_bolder(acting, good.acting)
    if whole is not None and (reading.status != "insufficient" or reading.lost):
        assert not is_bolder(acting, whole.acting)
    require_factors_within(reading)
    if reading.record is not None and reading.snapshot_id in world.whole:
        values = world.whole[reading.snapshot_id][symbol]
        if values["size"] and values["size"]["final_size_factor"] is not None:
            assert acting.size_factor <= values["size"]["final_size_factor"]


def require_factors_within(reading: Reading) -> None:
    """Hold the v5.10 factors against what acts and against what they were before the loss."""
    stack = of_reading.stack(reading)
    product = stack.inverse_vol * stack.regime_scale * stack.sharpe_mult * stack.intel_size_factor
    assert product <= reading.acting.size_factor * (1 + 1e-12)
    if reading.held is not None and reading.held.size is not None:
        before = reading.held.size
        for name in ("inverse_vol", "regime_scale", "sharpe_mult", "intel_size_factor"):
            known = getattr(before, name)
            assert known is None or getattr(stack, name) <= known


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="execintel-test-"))
    yield path
    shutil.rmtree(path)


step = st.sampled_from([published] * 3 + [faults] * 2).flatmap(lambda kind: kind)


@given(
    steps=st.lists(step, min_size=2, max_size=12),
    skips=st.integers(0, 255),
)
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_sequence_of_faults_makes_an_order_bolder_than_the_last_good_snapshot(
    folder: Path, steps: list[tuple[Any, ...]], skips: int
) -> None:
    root = Path(tempfile.mkdtemp(dir=folder))
    world = World(root)
    good: dict[str, Reading] = {}
    whole: dict[str, Reading] = {}  # neither old nor without anything that was known
    for number, step in enumerate(steps):
        world.befall(step)
        world.now_s += 0.2  # CURRENT is due to be looked at
        for symbol in SYMBOLS:
            if symbol == SYMBOLS[1] and skips >> number % 8 & 1:
                continue  # nobody asks for it this time
            reading = world.reader.read(symbol)
            event(reading.status)
            for known in (good, whole):
                if world.is_forgotten(known.get(symbol)):
                    known.pop(symbol, None)
            require_sound(world, symbol, reading, good.get(symbol), whole.get(symbol))
            if reading.status == "ok":
                good[symbol] = whole[symbol] = reading
            elif reading.status == "insufficient" and not reading.lost:
                whole[symbol] = reading
        served = world.reader.health().snapshot_id
        assert served == world.in_force
    shutil.rmtree(root)
