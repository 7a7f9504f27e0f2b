"""The Firestore emulator as a child process on this machine: found, started, frozen, stopped.

Put here: the process. Keep out: what is written to it. Its documents live in its memory.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.ports import free_port

JAR_VARIABLE = "FIRESTORE_EMULATOR_JAR"
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_JAR = Path("platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
_PACKAGED = Path("/usr/lib/google-cloud-sdk")
_START_S = 60.0  # usually 1 to 3; a busy machine takes its time


class NoEmulatorError(Exception):
    """There is no emulator on this machine; the message says where it was looked for."""


def find_jar() -> Path:
    """Locate the emulator: by its variable, else within the Google Cloud command-line tools."""
    named = os.environ.get(JAR_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"{JAR_VARIABLE}={named} is no file: mend or unset it")
        return Path(named)
    roots = [_PACKAGED]
    gcloud = shutil.which("gcloud")
    if gcloud:
        roots.insert(0, Path(gcloud).resolve().parent.parent)
    for root in roots:
        if (root / _JAR).is_file():
            return root / _JAR
    raise NoEmulatorError(
        f"no Firestore emulator: {JAR_VARIABLE} is not set and gcloud's tools hold none"
    )


class Emulator:
    """One emulator on a port of its own; it may be frozen, killed and started again there."""

    def __init__(self) -> None:
        self._jar = find_jar().resolve()
        self._java = shutil.which("java")
        if self._java is None:
            raise NoEmulatorError("no Firestore emulator: it needs java on the path")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = [
            str(self._java), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-cp", str(self._jar), _MAIN, "start", "--host=127.0.0.1", f"--port={self.port}",
        ]  # fmt: skip
        # Java itself, not the tools' script: killing that would leave Java alive. It does not start
        # in a folder whose name the locale cannot write.
        self._process = subprocess.Popen(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _START_S
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the Firestore emulator did not start: exit code {code}")
            time.sleep(0.05)
        self._warm()

    def _warm(self) -> None:
        """Write one document, for the first takes it seconds on a busy machine."""
        path = "v1/projects/warm/databases/(default)/documents/warm/warm"
        request = urllib.request.Request(
            f"http://{self.host}/{path}",
            data=b'{"fields": {"a": {"integerValue": "1"}}}',
            headers={"Content-Type": "application/json"},
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=_START_S) as answer:
            assert answer.status == 200

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def freeze(self) -> None:
        """Stop it with its connections open: calls neither succeed nor fail."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it: calls are refused, its documents are gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
