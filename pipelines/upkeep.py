"""Keep the lake small: merge files, remove those that no kept snapshot names, trim the logs.

Put here: housekeeping of lake and snapshots, under the writer lock. Keep out: Dagster's storage
(dagster_home.py).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from deltalake import DeltaTable

from features import history_store
from features.durations import DAY_MS
from features.lake import QUIET, Lake
from features.lock import writer_lock
from features.settings import Settings
from features.snapshot import Store

# Of raw rows, so that a large day's lines are not read and written again each time, and a late line
# makes an hour or two be read.
_RAW_FILE_BYTES = 16 << 20
_LOG_ENTRY = re.compile(r"^(\d{20})\.(json|checkpoint.*parquet)$")


@dataclass
class UpkeepReport:
    """What one upkeep merged and removed, by table where it is about tables."""

    snapshots_removed: list[str] = field(default_factory=list)
    snapshots_damaged: list[str] = field(default_factory=list)  # with any, lake files stay
    files_compacted: dict[str, int] = field(default_factory=dict)
    files_removed: dict[str, int] = field(default_factory=dict)
    log_files_removed: dict[str, int] = field(default_factory=dict)
    history_files_removed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0


def upkeep(settings: Settings, *, now_ms: int, wait_s: float = 60.0) -> UpkeepReport:
    """Collect old snapshots, then compact, vacuum and trim every table of the lake.

    Every file of every kept or rejected snapshot stays, and every version that one names can still
    be opened. Killed at any point, it leaves a whole lake; the next run finishes.

    Raises:
        WriterBusyError: another process writes and did not end in ``wait_s`` seconds.
        LakeFormatError: the lake was written by another format version.
    """
    report = UpkeepReport()
    with writer_lock(settings.home, "upkeep", wait_s=wait_s):
        lake, store = Lake(settings.lake_root), Store(settings.snapshots_root)
        lake.prepare()
        report.bytes_before = _size(settings.home)
        history_store.catch_up(lake, store)  # before a snapshot goes that it lacks
        report.history_files_removed = history_store.forget(
            lake, now_ms - settings.history_days * DAY_MS
        )
        report.snapshots_removed = store.collect_garbage(now_ms)
        kept = kept_versions(store)
        report.snapshots_damaged = store.damaged()
        for path in sorted(lake.root.iterdir()):
            # What a damaged snapshot names is unknown: its files must not go.
            if lake.exists(path.name) and not report.snapshots_damaged:
                _tend(lake.open(path.name), path, kept.get(path.name, set()), report)
        report.bytes_after = _size(settings.home)
    return report


def kept_versions(store: Store) -> dict[str, set[int]]:
    """Return the versions of every table that a snapshot on disk names, rejected ones included."""
    kept: dict[str, set[int]] = {}
    for manifest in [*map(store.manifest, store.ids()), *store.rejected()]:
        for table, source in manifest["inputs"].items():
            kept.setdefault(table, set()).add(source["version"])
    return kept


def _tend(table: DeltaTable, path: Path, kept: Collection[int], report: UpkeepReport) -> None:
    target = _RAW_FILE_BYTES if path.name.startswith("raw_") else None
    merged = table.optimize.compact(target_size=target, post_commithook_properties=QUIET)
    report.files_compacted[path.name] = merged["numFilesRemoved"]
    # The writer lock is held: nothing is being written, so that no file is too young to go.
    removed = table.vacuum(
        retention_hours=0,
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
        keep_versions=sorted(kept),
        post_commithook_properties=QUIET,
    )
    report.files_removed[path.name] = len(removed)
    table.update_incremental()
    table.create_checkpoint()
    oldest = min([*kept, table.version()])
    report.log_files_removed[path.name] = trim_log(path / "_delta_log", oldest)


def trim_log(log: Path, oldest: int) -> int:
    """Remove log entries that no version from ``oldest`` on needs; returns how many.

    A version loads from the last checkpoint at or before it and the entries after that one.
    """
    entries = {path: match for path in log.iterdir() if (match := _LOG_ENTRY.match(path.name))}
    checkpoints = [int(m[1]) for m in entries.values() if m[2] != "json" and int(m[1]) <= oldest]
    if not checkpoints:
        return 0
    base = max(checkpoints)
    doomed = sorted(path for path, match in entries.items() if int(match[1]) < base)
    for path in doomed:
        path.unlink()
    return len(doomed)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
