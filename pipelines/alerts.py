"""Bring alerts to a person, and a sign of life to whoever watches: once each, in bounded time.

Put here: what was told to whom, messages, acknowledging, the heartbeat. Keep out: which alerts
there are (features/sql/feat_ops__alerts.sql), who has seen them (features/acknowledgements.py).
Nothing here may fail or delay a refresh for long.
"""

import hashlib
import json
import logging
import os
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock, Timeout

from features.acknowledgements import SEVERITY_RANK as _RANK
from features.acknowledgements import Acknowledged, acknowledged, key_of
from features.durable import replace_file
from features.durations import HOUR_MS
from features.settings import Settings
from features.snapshot import Hold, SnapshotError, Store, open_snapshot
from features.words import after_resume

if TYPE_CHECKING:
    from pipelines.refresh import RefreshReport

QUIET_MS = HOUR_MS  # an alert that was over comes back within the hour: told again only if worse
LATE = 10  # a service that answers within so many timeouts has taken the message all the same
LISTED = 20  # alerts of one message; more are counted
_ALIVE = ("published", "unchanged", "empty")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """One thing to look at; equal keys are the same alert in later snapshots."""

    rule: str
    subject: str
    severity: str
    text: str
    since_ms: int
    n: int | None = None
    value: float | None = None
    threshold: float | None = None
    status: str = "open"

    @property
    def key(self) -> str:
        return key_of(self.rule, self.subject)


@dataclass
class Delivery:
    """What one delivery came to: messages sent, and why others were not."""

    sent: int = 0
    problems: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------ what there is


def open_alerts(store: Store) -> list[Alert]:
    """Return the alerts that are open in CURRENT; none before the first publication.

    Raises SnapshotError or duckdb.Error when CURRENT is damaged.
    """
    current = store.current()
    if current is None:
        return []
    with open_snapshot(store.database(current)) as con:
        found = con.execute(
            "SELECT 1 FROM duckdb_tables() WHERE table_name = 'feat_ops__alerts'"
        ).fetchall()
        if not found:
            return []  # of an older release
        rows = con.execute(
            "SELECT rule, subject, severity, text, since_ms, n, value, threshold, status"
            " FROM feat_ops__alerts WHERE status <> 'cleared' ORDER BY rule, subject"
        ).fetchall()
    return [Alert(*row) for row in rows]


def publication_alerts(
    report: "RefreshReport", as_of_ms: int, hold: Hold | None = None
) -> list[Alert]:
    """Return what keeps readers on an older snapshot: no snapshot of theirs can say so.

    Under a hold nothing is published until that is ended, whatever else waits.
    """
    checks = {"rejected": report.built.failed, "held": report.built.held}.get(report.outcome, [])
    causes = "; ".join(f"{check.name}: {check.cause}" for check in checks)
    if report.outcome == "rejected":
        text = f"No new snapshot is published: {causes}. execintel doctor says more."
        return [Alert("build_rejected", "snapshot", "critical", text, as_of_ms)]
    if report.outcome == "held":
        mend = "execintel snapshots list, then execintel snapshots publish"
        why = causes or "a check holds it"
        if hold is not None:
            after = mend if causes else "execintel refresh"
            mend = after_resume(after, is_held=True)
            held = f"HOLD is set by {hold.by} ({hold.reason})"
            why = f"{held}; {causes}" if causes else held
        text = f"A snapshot waits for a person: {why}. {mend}."
        return [Alert("publication_held", "snapshot", "warning", text, as_of_ms)]
    if report.doubt is not None:
        return [Alert("publication_held", "snapshot", "warning", report.doubt, as_of_ms)]
    return []


# ---------------------------------------------------------------------------------- acknowledgement


def acknowledge(home: Path, alert: Alert, *, now_ms: int, by: str, note: str = "") -> None:
    """Note that a person has seen an alert: while it stays open it is told only if it is worse."""
    entry = {
        "key": alert.key, "since_ms": alert.since_ms, "severity": alert.severity,
        "at_ms": now_ms, "by": by, "note": note,
    }  # fmt: skip
    folder = home / "alerts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "acknowledged.jsonl").open("ab") as file:
        file.write(json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def is_seen(alert: Alert, seen: Acknowledged) -> bool:
    """Tell whether a person acknowledged the alert at this severity or a worse one."""
    saw = seen.get((alert.key, alert.since_ms))
    return saw is not None and saw.holds(alert.severity)


# ----------------------------------------------------------------------------------------- delivery


def after_refresh(
    settings: Settings, store: Store, report: "RefreshReport", *, now_ms: int
) -> Delivery:
    """Tell what is new, then give the sign of life; whatever goes wrong is logged, never raised."""
    found = Delivery()
    try:
        if settings.alert_urls:
            alerts = [*open_alerts(store), *publication_alerts(report, now_ms, store.hold())]
            found = deliver(settings, alerts, now_ms=now_ms)
    except (SnapshotError, duckdb.Error, OSError) as error:
        found.problems.append(f"alerts of CURRENT cannot be read: {error}")
    try:
        # Kept back by another environment's CURRENT, a build says nothing of readers: no sign.
        if report.other_environment is None:
            is_alive = report.outcome in _ALIVE and report.doubt is None
            found.problems += heartbeat(settings, report.outcome, is_alive=is_alive, now_ms=now_ms)
    except OSError as error:
        found.problems.append(f"the heartbeat cannot be written: {error}")
    for problem in found.problems:
        _log.warning("%s", problem)
    return found


def deliver(settings: Settings, alerts: Iterable[Alert], *, now_ms: int) -> Delivery:
    """Send to every address of alert_urls what it was not told yet: opened, worse, and over.

    What an address did not take is tried again by the next refresh. One that takes it late, while
    this process lives, is not told again; a message that does come twice names the same id.
    """
    found = Delivery()
    if not settings.alert_urls:
        return found
    least = _RANK[settings.alert_min_severity]
    wanted = [alert for alert in alerts if _RANK[alert.severity] >= least]
    seen = acknowledged(settings.home)
    folder = settings.home / "alerts"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "told.lock", timeout=0):
            told = _read_told(folder / "told.json")
            for secret in settings.alert_urls:
                url = secret.get_secret_value()
                name = hashlib.sha256(url.encode()).hexdigest()[:16]
                news = _news(told.get(name, {}), wanted, seen, now_ms)
                late = partial(_told_late, folder, name, told.get(name), news.state)
                problem = _send_news(news, url, settings, late) if news.is_any else None
                if problem is None:
                    told[name] = news.state
                    found.sent += news.is_any
                else:
                    found.problems.append(problem)
            replace_file(folder / "told.json", json.dumps(told, indent=1, sort_keys=True))
    except Timeout:
        found.problems.append("alerts are being delivered by another process")
    return found


@dataclass(frozen=True)
class _News:
    """What to tell one address, and what it was told once that is done."""

    opened: list[Alert]
    over: list[str]
    state: dict[str, Any]

    @property
    def is_any(self) -> bool:
        return bool(self.opened or self.over)


def _news(
    told: Mapping[str, Any],
    alerts: Iterable[Alert],
    seen: Acknowledged,
    now_ms: int,
) -> _News:
    state = {key: dict(entry) for key, entry in told.items()}
    opened, now_open = [], set()
    for alert in alerts:
        now_open.add(alert.key)
        entry = state.get(alert.key)
        is_worse = entry is None or _RANK[alert.severity] > _RANK[entry["severity"]]
        is_known = entry is not None and (entry["is_open"] or now_ms - entry["told_ms"] < QUIET_MS)
        if entry is None and is_seen(alert, seen):
            continue
        if is_known and not is_worse:
            continue  # one told to be over stays so until the quiet hour has passed
        opened.append(alert)
        state[alert.key] = {"severity": alert.severity, "told_ms": now_ms, "is_open": True}
    over = sorted(key for key, e in state.items() if e["is_open"] and key not in now_open)
    for key in over:
        state[key]["is_open"] = False
    kept = {k: e for k, e in state.items() if e["is_open"] or now_ms - e["told_ms"] < 24 * QUIET_MS}
    return _News(opened, over, kept)


def _told_late(
    folder: Path, name: str, before: dict[str, Any] | None, state: dict[str, Any]
) -> None:
    """Note that an address took a message after nobody waited any more, unless told since."""
    with FileLock(folder / "told.lock", timeout=60):
        told = _read_told(folder / "told.json")
        if told.get(name) == before:
            told[name] = state
            replace_file(folder / "told.json", json.dumps(told, indent=1, sort_keys=True))


def _read_told(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        return told
    except (OSError, ValueError):
        return {}  # never written, or torn: better told twice than never


def _send_news(news: _News, url: str, settings: Settings, late: Callable[[], None]) -> str | None:
    """Send one message; returns why it did not arrive, or None."""
    lines = [f"{alert.severity.upper()} {alert.text}" for alert in news.opened[:LISTED]]
    if len(news.opened) > LISTED:
        lines.append(f"… and {len(news.opened) - LISTED} more: execintel alerts list")
    lines += [f"over: {key}" for key in news.over[:LISTED]]
    about = [[a.key, a.severity, a.since_ms] for a in news.opened]
    lines.append(
        f"message {hashlib.sha256(json.dumps([about, news.over]).encode()).hexdigest()[:8]}"
    )
    title = f"execintel {settings.environment} {settings.account}: " + ", ".join(
        f"{len(part)} {word}"
        for part, word in ((news.opened, "opened"), (news.over, "over"))
        if part
    )
    is_bad = any(alert.severity == "critical" for alert in news.opened)
    kind = "failure" if is_bad else "warning" if news.opened else "success"
    body, timeout_s = "\n".join(lines), settings.alert_timeout_s
    return send(url, title, body, kind=kind, timeout_s=timeout_s, late=late)


def send(
    url: str, title: str, body: str, *, kind: str, timeout_s: float,
    late: Callable[[], None] = lambda: None,
) -> str | None:  # fmt: skip
    """Send one message to an Apprise address; returns why it did not arrive, or None.

    Returns after ``timeout_s`` seconds even where a name server or a service hangs; should the
    message arrive after that, ``late`` is called from another thread.
    """

    def run() -> str | None:
        import apprise

        service = apprise.Apprise.instantiate(url)
        if service is None:
            return f"{_shown(url)} is no address that Apprise knows"
        service.socket_connect_timeout = timeout_s
        service.socket_read_timeout = LATE * timeout_s
        types = {"failure": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}
        is_sent = service.notify(
            body=body, title=title, notify_type=types.get(kind, apprise.NotifyType.SUCCESS)
        )
        return None if is_sent else f"{_shown(url)} did not take the alert; tried again next time"

    return _bounded(run, timeout_s, f"{_shown(url)} did not answer within {timeout_s:g} s", late)


def _shown(url: str) -> str:
    """Name an address without what it keeps secret."""
    return f"{url.partition('://')[0]}://…"


def _bounded(
    run: Callable[[], str | None],
    timeout_s: float,
    too_late: str,
    late: Callable[[], None] = lambda: None,
) -> str | None:
    """Return what a call returns, what it raised as text, or ``too_late`` when it takes too long.

    ``late`` is called when it ends well after that.
    """
    answer: list[str | None] = []
    turn = threading.Lock()

    def work() -> None:
        try:
            found = run()
        except Exception as error:  # of any service's library: delivery never fails a refresh
            found = f"{type(error).__name__}: {error}"
        with turn:
            is_late = bool(answer)
            answer.append(found)
        if is_late and found is None:
            try:
                late()
            except (OSError, Timeout) as error:
                _log.warning("a late answer could not be noted: %s", error)

    thread = threading.Thread(target=work, name="alerts", daemon=True)
    thread.start()
    thread.join(timeout_s)
    with turn:
        if not answer:
            answer.append(too_late)
        return answer[0]


# ---------------------------------------------------------------------------------------- heartbeat


def heartbeat(settings: Settings, outcome: str, *, is_alive: bool, now_ms: int) -> list[str]:
    """Write the heartbeat file, and call heartbeat_url where readers are now up to date.

    Its absence is the alarm: a monitor outside watches the file's age or the calls.
    """
    text = json.dumps({"at_ms": now_ms, "outcome": outcome, "is_alive": is_alive})
    settings.home.mkdir(parents=True, exist_ok=True)
    replace_file(settings.home / "heartbeat.json", text + "\n")
    if settings.heartbeat_url is None or not is_alive:
        return []
    url, timeout_s = settings.heartbeat_url.get_secret_value(), settings.alert_timeout_s

    def call() -> str | None:
        with urllib.request.urlopen(url, timeout=timeout_s):
            return None

    problem = _bounded(call, timeout_s, f"did not answer within {timeout_s:g} s")
    return [] if problem is None else [f"heartbeat_url {_shown(url)}: {problem}"]
