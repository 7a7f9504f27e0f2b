"""A data root and a log folder of one test, and the command run in this process or in its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli import app

AS_OF = "2025-11-06T00:00:00Z"
START_S = 1_762_340_000.0  # 2025-11-05T10:53:20Z


@dataclass(frozen=True)
class Desk:
    """Folders of one test and the ways to call execintel on them."""

    home: Path
    logs: Path

    def run(self, *words: str) -> Result:
        """Call the command in this process."""
        return CliRunner().invoke(app, list(words), catch_exceptions=False)

    def refresh(self, *words: str) -> Result:
        return self.run("refresh", "--logs", str(self.logs), "--as-of", AS_OF, *words)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on CURRENT."""
        result = self.run("sql", sql, "--format", "json")
        assert result.exit_code == 0, result.output
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows

    def process(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call the command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *words],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def current(self) -> str:
        return (self.home / "snapshots" / "CURRENT").read_text().strip()

    def write(self, *lines: str, name: str = "order_metrics.jsonl") -> None:
        """Append text to a log; each line needs its own newline to be whole."""
        self.logs.mkdir(exist_ok=True)
        with (self.logs / name).open("a") as file:
            file.write("".join(lines))


def enter(folder: Path, patch: pytest.MonkeyPatch) -> Desk:
    """Go to a folder that holds a data root, or shall."""
    patch.chdir(folder)
    patch.setenv("EXECINTEL_HOME", str(folder / "home"))
    return Desk(folder / "home", folder / "logs")


def attempt(n: int, symbol: str = "BTCUSDT", **changes: Any) -> str:
    """Write one router line of the v5.10 shape: ``n`` makes its id, its minute and its slippage."""
    mark = 100.0
    record = {
        "attempt_id": f"sig_{n}",
        "intent_id": f"ord_{n}",
        "venue": "binance_futures",
        "route": "market",
        "symbol": symbol,
        "side": "BUY",
        "ts": START_S + 60 * n,
        "prices": {"mark": mark, "submitted": mark, "avg_fill": mark * (1 + n * 1e-4)},
        "qty": {"contracts": 1.0, "notional_usd": mark},
        "timing_ms": {"decision": None, "submit": None, "ack": 20.0, "fill": 0.0},
        "result": {"status": "FILLED", "retries": 0, "cancelled": False},
        "fees_usd": 0.05,
        "slippage_bps": float(n),
    }
    return json.dumps({**record, **changes}) + "\n"
