"""Write a demonstration: a week of one executor's logs and the bars of its market, from a seed.

Put here: files, rotation, and the truth that a reader's result is compared with. Keep out: what
happens (story.py), how it is spelled (shapes.py), what is broken (faults.py).
"""

import gzip
import io
import json
import math
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.demo import faults as faulty
from pipelines.demo.market import DAY_US, DEMO_SYMBOLS, Market
from pipelines.demo.story import Story

DEMO_END_MS = 1_767_830_400_000  # 2026-01-08T00:00:00Z
STEMS = (
    "order_metrics",
    "orders_executed",
    "orders_attempted",
    "risk_vetoes",
    "position_state",
)
ROTATED_SHARES = (0.30, 0.65)  # of the router lines: up to here in .2.jsonl.gz, then in .1.jsonl

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DemoTruth:
    """What a generated folder holds, counted while it was written.

    ``lines``: whole lines by file name. ``outcomes``: attempts by symbol and outcome (filled,
    partial, unfilled, rejected, unknown). ``realized_pnl_usd`` sums the order_close lines,
    ``realized_pnl_attempts_usd`` without the stand-alone ones; ``fees_usd`` the fees that the
    lines tell. ``maker_fills`` of ``maker_known`` fills were maker. ``rejected`` and ``repeated``:
    lines by file stem that a reader must refuse, and that repeat an earlier line.
    ``half_line_rest`` completes the half line at the end of order_metrics.jsonl: one more attempt,
    of unknown outcome.
    """

    folder: Path
    start_ms: int
    end_ms: int
    symbols: tuple[str, ...]
    lines: Mapping[str, int]
    outcomes: Mapping[str, Mapping[str, int]]
    closes: Mapping[str, int]
    realized_pnl_usd: Mapping[str, float]
    realized_pnl_attempts_usd: Mapping[str, float]
    fees_usd: Mapping[str, float]
    maker_known: Mapping[str, int]
    maker_fills: Mapping[str, int]
    faults: Mapping[str, int]
    rejected: Mapping[str, int]
    repeated: Mapping[str, int]
    half_line_rest: str

    @property
    def attempts(self) -> dict[str, int]:
        """Attempts that reached the router, by symbol."""
        return {symbol: sum(counts.values()) for symbol, counts in self.outcomes.items()}

    @property
    def fills(self) -> dict[str, int]:
        """Attempts that filled, wholly or partly, by symbol."""
        return {s: counts["filled"] + counts["partial"] for s, counts in self.outcomes.items()}

    @property
    def unknown(self) -> dict[str, int]:
        """Attempts whose outcome the logs do not tell, by symbol."""
        return {symbol: counts["unknown"] for symbol, counts in self.outcomes.items()}


def generate(
    folder: Path,
    *,
    seed: int = 7,
    days: float = 7,
    end_ms: int = DEMO_END_MS,
    symbols: tuple[str, ...] = DEMO_SYMBOLS,
    attempts_per_day: int = 400,
    faults: bool = True,
    on_progress: Progress | None = None,
) -> DemoTruth:
    """Write logs and bars of the ``days`` before ``end_ms`` and return what they hold.

    The same arguments give the same bytes. ``faults=False`` leaves out every fault of real logs:
    bad, glued, half and re-read lines, rotation, orders never polled, flips. ``on_progress`` is
    called with attempts done and attempts in all. Raises ValueError for impossible arguments and
    FileExistsError, before it writes, where the folder holds other logs.
    """
    if days <= 0 or attempts_per_day <= 0 or not symbols:
        raise ValueError(
            f"days={days}, attempts_per_day={attempts_per_day}, {len(symbols)} symbols: "
            "a demonstration needs more than nothing of each"
        )
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"symbols repeat: {', '.join(symbols)}")
    end_us = end_ms * 1000
    start_us = end_us - round(days * DAY_US)
    market = Market(symbols, start_us, end_us, seed)
    attempts = max(1, round(days * attempts_per_day))
    story = Story(market, symbols, start_us, end_us, attempts, seed, faults)
    story.tell(on_progress)
    lines = {stem: _written(story, stem) for stem in STEMS}
    damage = faulty.plant(lines, random.Random(seed * 1_000_003 + 1)) if faults else faulty.Damage()
    files, counts = _files(lines, damage.half_line, is_rotated=faults)
    for symbol in symbols:
        files[f"bars/{symbol}_15m.csv"] = market.bars_csv(symbol).encode()
        counts[f"bars/{symbol}_15m.csv"] = market.bar_count + 1
    _refuse_other_logs(folder, files)
    for name, data in files.items():
        _put(folder / name, data)
    if on_progress:
        on_progress(attempts, attempts)
    return _truth(story, folder, counts, damage)


def _written(story: Story, stem: str) -> list[str]:
    ordered = sorted(story.lines[stem], key=lambda item: item[0])
    return [json.dumps(line) for _, line in ordered]


def _files(
    lines: dict[str, list[str]], half_line: str, *, is_rotated: bool
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Lay lines out as files: name → bytes, and name → whole lines."""
    parts = {f"{stem}.jsonl": lines[stem] for stem in STEMS}
    if is_rotated:
        router = lines["order_metrics"]
        first, second = (int(len(router) * share) for share in ROTATED_SHARES)
        parts["order_metrics.2.jsonl.gz"] = router[:first]
        parts["order_metrics.1.jsonl"] = router[first:second]
        parts["order_metrics.jsonl"] = router[second:]
        parts = {name: part for name, part in parts.items() if part}
    files = {}
    for name, part in parts.items():
        text = "".join(f"{line}\n" for line in part)
        if name == "order_metrics.jsonl":
            text += half_line[: len(half_line) // 2]
        files[name] = _gzip(text.encode()) if name.endswith(".gz") else text.encode()
    return files, {name: len(part) for name, part in parts.items()}


def _gzip(data: bytes) -> bytes:
    """Compress without a name and a time inside: the same text gives the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def _refuse_other_logs(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raise FileExistsError where a log in the folder is not exactly one that would be written."""
    present = [
        path
        for pattern in ("*.jsonl*", "bars/*.csv*")
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    ]
    for path in present:
        data = files.get(path.relative_to(folder).as_posix())
        if data is None or path.stat().st_size != len(data) or path.read_bytes() != data:
            raise FileExistsError(
                f"{path} is not of this demonstration and would be mixed with it: "
                "name another folder, or remove this one first"
            )


def _put(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it: no reader sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _truth(story: Story, folder: Path, counts: dict[str, int], damage: faulty.Damage) -> DemoTruth:
    tally, symbols = story.tally, story.symbols
    kinds = ("filled", "partial", "unfilled", "rejected", "unknown")
    return DemoTruth(
        folder=folder,
        start_ms=story.plan.start_us // 1000,
        end_ms=story.plan.end_us // 1000,
        symbols=symbols,
        lines=counts,
        outcomes={s: {kind: tally.outcomes[s][kind] for kind in kinds} for s in symbols},
        closes={s: tally.closes[s] for s in symbols},
        realized_pnl_usd={s: math.fsum(tally.pnl_usd[s]) for s in symbols},
        realized_pnl_attempts_usd={s: math.fsum(tally.attempts_pnl_usd[s]) for s in symbols},
        fees_usd={s: math.fsum(tally.fees_usd[s]) for s in symbols},
        maker_known={s: tally.maker_known[s] for s in symbols},
        maker_fills={s: tally.maker[s] for s in symbols},
        faults=dict(sorted((tally.faults + damage.counts).items())),
        rejected={stem: damage.rejected[stem] for stem in STEMS},
        repeated={stem: damage.repeated[stem] for stem in STEMS},
        half_line_rest=_rest(damage.half_line),
    )


def _rest(half_line: str) -> str:
    return half_line[len(half_line) // 2 :] + "\n" if half_line else ""
