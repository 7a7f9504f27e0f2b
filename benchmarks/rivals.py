"""Feast and Redis beside ours: an environment of their own, and a child process that answers there.

Put here: making the environment, starting and stopping the child and redis-server. Keep out: what
is measured (reader.py, asof_join.py), the child's own work (rivals_child.py).
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# Feast pins what it likes: never in the project's own environment or lock.
REQUIREMENTS = ("feast[duckdb]==0.67.0", "redis==8.1.0")
_CHILD = Path(__file__).with_name("rivals_child.py")
_START_S = 10.0


class LeftOutError(RuntimeError):
    """A competitor cannot be measured here; the text says why."""


def cache_folder() -> Path:
    """Return where the environment is kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "execintel-benchmarks"


def environment(cache: Path, *, is_made: bool) -> Path:
    """Return the Python of the competitors' environment.

    Installs it where ``is_made`` and it is not there, which takes minutes. Raises LeftOutError.
    """
    name = hashlib.sha256("\n".join([sys.version, *REQUIREMENTS]).encode()).hexdigest()[:12]
    folder = cache / f"rivals-{name}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    if not is_made:
        raise LeftOutError(f"{folder} is not installed; a run without --quick installs it")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"  installing {', '.join(REQUIREMENTS)} into {folder}: some minutes", flush=True)
    for words in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise LeftOutError(f"{' '.join(words[1:4])} … failed: {why}")
    ready.write_text("\n".join(REQUIREMENTS) + "\n")
    return python


class Rival:
    """A child process that holds one competitor and answers a line of JSON with another."""

    def __init__(self, python: Path, name: str, **choice: Any) -> None:
        # A pipe that nobody reads would fill and stop it; closed by stop().
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", str(_CHILD), name, json.dumps(choice)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True,
            env={**os.environ, "FEAST_USAGE": "False", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        self.name = name
        try:
            self.about: dict[str, Any] = self._answer()
        except LeftOutError:
            self.stop()
            raise

    def ask(self, **question: Any) -> dict[str, Any]:
        """Let it answer one question.

        Raises LeftOutError when it died of it.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says of what it died
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LeftOutError(f"{self.name} ended: {_last_line(self.said)}")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.communicate()
        self.said.close()


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Run the system's redis-server on loopback without persistence; yields its port.

    Raises LeftOutError when there is none.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise LeftOutError("there is no redis-server on the path")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([program, *words], cwd=folder, stdout=said, stderr=said)
        try:
            until = time.monotonic() + _START_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise LeftOutError(f"redis-server did not start: {_last_line(said)}")
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    return (said.read().decode(errors="replace").strip().splitlines() or ["without a word"])[-1]


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
