"""Immutable snapshots: build under a temporary name, check, publish atomically, keep, take back.

Put here: the folder of snapshots and every change to it. Keep out: computing tables (build.py).
Calls that change anything need the writer lock (lock.py); reading needs none.
"""

import contextlib
import datetime as dt
import gzip
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from features import publications
from features.digest import file_digest, table_digest
from features.durable import fsync, replace_file
from features.durations import DAY_MS
from features.engines.text import identifier, literal
from features.publications import Publication

DATABASE = "features.duckdb"
MANIFEST = "manifest.json"
_KEPT_WHOLE = 288  # a day at every five minutes
_KEPT_DAILY_DAYS = 30
_KEPT_REJECTED = 10
_ARCHIVE_DAYS = 365


class SnapshotError(RuntimeError):
    """A snapshot is missing, damaged or not what was asked for."""


@dataclass(frozen=True)
class Hold:
    """Publication is held: who held it, when and why."""

    since_ms: int
    by: str
    reason: str


class Store:
    """The snapshots below one root: one folder each, CURRENT naming the one that readers use."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- reading ---------------------------------------------------------------------------------

    def current(self) -> str | None:
        """Return the id that CURRENT names, or None before the first publication."""
        return publications.current_of(self.root)

    def ids(self) -> list[str]:
        """Return the snapshots whose manifest can be read, oldest build first."""
        found = {}
        for path in self.root.glob(f"[0-9]*/{MANIFEST}"):
            # One damaged manifest must neither stop a refresh nor the rollback that mends it.
            with contextlib.suppress(SnapshotError):
                found[path.parent.name] = self.manifest(path.parent.name)["sequence"]
        return sorted(found, key=lambda i: (found[i], i))

    def path(self, snapshot_id: str) -> Path:
        return self.root / snapshot_id

    def database(self, snapshot_id: str) -> Path:
        return self.path(snapshot_id) / DATABASE

    def packed(self, snapshot_id: str, name: str) -> Path:
        """Return where a file of a published snapshot is kept, compressed, once it was collected.

        Those are its manifest and live.jsonl.
        """
        return self.root / "archive" / snapshot_id / f"{name}.gz"

    def archived(self) -> list[dict[str, Any]]:
        """Return the manifests of the published snapshots that were collected."""
        found = self.root.glob(f"archive/*/{MANIFEST}.gz")
        return [json.loads(gzip.decompress(path.read_bytes())) for path in found]

    def manifest(self, snapshot_id: str) -> dict[str, Any]:
        """Read a snapshot's manifest.

        Raises SnapshotError naming the ids there are when it is missing.
        """
        path = self.path(snapshot_id) / MANIFEST
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            have = ", ".join(
                p.parent.name for p in sorted(self.root.glob(f"[0-9]*/{MANIFEST}"))[-5:]
            )
            raise SnapshotError(
                f"no snapshot {snapshot_id} under {self.root}; the newest are: {have or 'none'}"
            ) from None
        except ValueError as error:
            raise SnapshotError(
                f"{path} is damaged ({error}): roll back with `execintel snapshots rollback`"
            ) from error
        return found

    def resolve(self, name: str | None) -> str:
        """Return the id that ``name`` means: an id, a unique beginning of one, or None = CURRENT.

        Raises SnapshotError when nothing or more than one thing is meant.
        """
        if name is None:
            current = self.current()
            if current is None:
                raise SnapshotError(
                    self.lost_current()
                    or f"nothing is published under {self.root}: run `execintel refresh` first"
                )
            return current
        matches = [i for i in self.ids() if i.startswith(name)]
        if not matches:
            raise SnapshotError(
                f"no snapshot under {self.root} is called or begins with {name}: "
                "`execintel snapshots list` names them"
            )
        if len(matches) > 1:
            more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
            raise SnapshotError(
                f"{len(matches)} snapshots under {self.root} begin with {name}, write more of the "
                f"one you mean: {', '.join(matches[:5])}{more}"
            )
        return matches[0]

    def lost_current(self) -> str | None:
        """Say that CURRENT is gone, where its log tells of publications; else None."""
        last = publications.logged(self.root) if self.current() is None else []
        if not last:
            return None
        return (
            f"{self.root / 'CURRENT'} is missing or empty, though published.jsonl ends with "
            f"{last[-1].snapshot_id}: `execintel refresh` writes it anew"
        )

    def publications(self) -> list[Publication]:
        """Return what was made CURRENT and when, in order."""
        return publications.in_force(self.root)

    def hold(self) -> Hold | None:
        """Return why publication is held, or None; a HOLD that cannot be read holds too."""
        path = self.root / "HOLD"
        try:
            return Hold(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            reason = f"{path} holds no reason that can be read"
            return Hold(int(path.stat().st_mtime * 1000), "unknown", reason)

    def held_by(self, snapshot_id: str) -> list[dict[str, Any]]:
        """Return the checks for whose sake a build waits until a person publishes it."""
        manifest = self.manifest(snapshot_id)
        names = manifest.get("held_checks", [])
        return [check for check in manifest["checks"] if check["name"] in names]

    def waiting(self) -> list[str]:
        """Return the builds newer than CURRENT that a check holds for a person, oldest first."""
        manifests = [self.manifest(snapshot_id) for snapshot_id in self.ids()]
        current = self.current()
        since_ms = max([m["as_of_ms"] for m in manifests if m["snapshot_id"] == current], default=0)
        return [
            manifest["snapshot_id"]
            for manifest in manifests
            if manifest.get("held_checks") and manifest["as_of_ms"] > since_ms
        ]

    def rejected(self) -> list[dict[str, Any]]:
        """Return the manifests of builds that a check kept from publication, newest last."""
        found = []
        for path in self.root.glob(f"rejected/*/{MANIFEST}"):
            with contextlib.suppress(OSError, ValueError):  # damage here must not stop a refresh
                found.append(json.loads(path.read_text()))
        return sorted(found, key=lambda m: m["sequence"])

    def damaged(self) -> list[str]:
        """Return the snapshots whose manifest cannot be read: nobody knows what they need."""
        whole = {*self.ids(), *(manifest["snapshot_id"] for manifest in self.rejected())}
        paths = [*self.root.glob(f"[0-9]*/{MANIFEST}"), *self.root.glob(f"rejected/*/{MANIFEST}")]
        return sorted({path.parent.name for path in paths} - whole)

    # -- writing ---------------------------------------------------------------------------------

    def begin(self) -> Path:
        """Make a fresh folder to build in; leftovers of killed runs are removed."""
        self.root.mkdir(parents=True, exist_ok=True)
        for stale in self.root.glob(".building-*"):
            shutil.rmtree(stale)
        folder = self.root / f".building-{os.getpid()}"
        folder.mkdir()
        return folder

    def next_sequence(self) -> int:
        manifests = [self.manifest(i)["sequence"] for i in self.ids()]
        manifests += [m["sequence"] for m in self.rejected()]
        manifests += [p.sequence for p in publications.logged(self.root)]
        return max(manifests, default=0) + 1

    def finish(self, folder: Path, manifest: dict[str, Any]) -> Path:
        """Write the manifest, make everything durable and give the folder its final name.

        A build with a failed check goes to ``rejected/``; the others stand beside CURRENT's.
        """
        manifest["files"] = {
            path.name: file_digest(path)
            for path in sorted(folder.iterdir())
            if path.name != MANIFEST
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for path in folder.iterdir():
            fsync(path)
        fsync(folder)
        parent = self.root / "rejected" if manifest["failed_checks"] else self.root
        parent.mkdir(exist_ok=True)
        final = parent / str(manifest["snapshot_id"])
        if final.exists():
            shutil.rmtree(final)
        folder.rename(final)
        fsync(parent)
        if manifest["failed_checks"]:
            for old in self.rejected()[:-_KEPT_REJECTED]:
                shutil.rmtree(self.root / "rejected" / old["snapshot_id"])
        return final

    def publish(self, snapshot_id: str, *, now_ms: int, by: str) -> None:
        """Make a whole snapshot the one that readers use.

        A CURRENT that was lost is written anew first: of a line that replaced nothing nobody could
        tell whether a run was killed before CURRENT moved.
        """
        made = self.publications() if self.current() is None else []
        if made:
            replace_file(self.root / "CURRENT", made[-1].snapshot_id + "\n")
        entry = {
            "snapshot_id": snapshot_id,
            "sequence": self.manifest(snapshot_id)["sequence"],
            "published_ms": now_ms,
            "by": by,
            "previous": self.current(),  # tells later that a run was killed before CURRENT moved
        }
        log = self.root / "published.jsonl"
        with log.open("a+b") as file:
            # A run killed in mid-line must not swallow this one.
            file.seek(0, os.SEEK_END)
            if file.tell() and not log.read_bytes().endswith(b"\n"):
                file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        replace_file(self.root / "CURRENT", snapshot_id + "\n")

    def release(self, target: str | None, *, now_ms: int, by: str) -> str:
        """Publish a build that was kept or that a check holds: a person has looked at it.

        Without ``target`` it is the newest that waits. Returns the id now in force.

        Raises SnapshotError when publication is on HOLD, nothing waits, or the build is CURRENT or
        older than it.
        """
        hold = self.hold()
        if hold is not None:
            raise SnapshotError(
                f"publication is on HOLD by {hold.by} ({hold.reason}): "
                "`execintel snapshots resume` first"
            )
        waiting = self.waiting()
        if target is None and not waiting:
            raise SnapshotError("no build waits for a person; see `execintel snapshots list`")
        target = self.resolve(target or waiting[-1])
        current = self.current()
        if target == current:
            raise SnapshotError(f"{target} is CURRENT already")
        if current in self.ids():
            as_of_ms = self.manifest(current)["as_of_ms"]
            if self.manifest(target)["as_of_ms"] < as_of_ms:
                raise SnapshotError(
                    f"{target} is older than CURRENT, {current}: "
                    "`execintel snapshots rollback` goes back"
                )
        self.publish(target, now_ms=now_ms, by=by)
        return target

    def rollback(self, target: str | None, *, now_ms: int, by: str, reason: str) -> str:
        """Point CURRENT at an earlier snapshot and hold publication until resume.

        Without ``target`` it is the last whole one published before CURRENT that no rollback took
        back. Returns the id now in force.

        Raises SnapshotError where there is none, or the target was never published, is newer than
        CURRENT or damaged.
        """
        current = self.resolve(None)
        if target is None:
            standing = self._standing()
            limit = standing.get(current, math.inf)  # where CURRENT names none: the last of all
            before = [i for i in self.ids() if standing.get(i, limit) < limit]
            target = next((i for i in reversed(before) if not self._file_faults(i)), None)
            if target is None:
                raise SnapshotError(
                    f"nothing whole was published before {current}: nothing to go back to"
                )
        else:
            target = self.resolve(target)
            self._require_earlier(target, current)
        self.set_hold(now_ms=now_ms, by=by, reason=reason)
        self.publish(target, now_ms=now_ms, by=by)
        return target

    def _standing(self) -> dict[str, int]:
        """Return what was made CURRENT and not taken back since, with the builds' numbers."""
        standing: dict[str, int] = {}
        for entry in self.publications():
            standing = {name: n for name, n in standing.items() if n < entry.sequence}
            standing[entry.snapshot_id] = entry.sequence
        return standing

    def _require_earlier(self, target: str, current: str) -> None:
        published = {p.snapshot_id: p.sequence for p in self.publications()}
        if published and target not in published:
            raise SnapshotError(
                f"{target} was never published: `execintel snapshots publish` is for what waits"
            )
        is_newer = published.get(target, 0) > published.get(current, math.inf)
        if is_newer and self.hold() is None:  # under HOLD it takes a rollback back
            raise SnapshotError(
                f"{target} is newer than CURRENT, {current}: `execintel snapshots resume`, then "
                "`execintel snapshots publish` goes forward"
            )
        faults = self._file_faults(target)
        if faults:
            raise SnapshotError(f"{target} is damaged: {faults[0]}. Name another")

    def set_hold(self, *, now_ms: int, by: str, reason: str) -> None:
        """Hold publication: refresh goes on building and keeps what it builds."""
        text = json.dumps({"since_ms": now_ms, "by": by, "reason": reason})
        replace_file(self.root / "HOLD", text)

    def resume(self) -> Hold | None:
        """Let refresh publish again; returns the hold that ended, or None."""
        hold = self.hold()
        if hold is not None:
            (self.root / "HOLD").unlink()
            fsync(self.root)
        return hold

    def collect_garbage(self, now_ms: int) -> list[str]:
        """Remove snapshots beyond the kept ones, archiving their manifests; returns the ids.

        Kept whole: CURRENT, the newest 288, and the newest of each UTC day for 30 days.
        """
        ids = self.ids()
        kept = set(ids[-_KEPT_WHOLE:]) | {self.current() or ""}
        newest_of_day: dict[str, str] = {}
        for snapshot_id in ids:
            created_ms = self.manifest(snapshot_id)["created_ms"]
            if now_ms - created_ms <= _KEPT_DAILY_DAYS * DAY_MS:
                day = dt.datetime.fromtimestamp(created_ms / 1000, tz=dt.UTC).date().isoformat()
                newest_of_day[day] = snapshot_id
        kept |= set(newest_of_day.values())
        published = {p.snapshot_id for p in self.publications()}
        removed = [i for i in ids if i not in kept]
        for snapshot_id in removed:
            if snapshot_id in published:
                self._archive(snapshot_id)
            doomed = self.root / f".building-removed-{snapshot_id}"
            self.path(snapshot_id).rename(doomed)  # a reader never meets half a folder
            shutil.rmtree(doomed)
        for path in self.root.glob("archive/*/created_ms"):
            if now_ms - int(path.read_text()) > _ARCHIVE_DAYS * DAY_MS:
                shutil.rmtree(path.parent)
        return removed

    def _archive(self, snapshot_id: str) -> None:
        """Keep manifest and live.jsonl, compressed: what an order's decision is reopened from."""
        folder = self.packed(snapshot_id, MANIFEST).parent
        folder.mkdir(parents=True, exist_ok=True)
        for name in (MANIFEST, "live.jsonl"):
            source = self.path(snapshot_id) / name
            if source.exists():
                packed = gzip.compress(source.read_bytes(), mtime=0)
                self.packed(snapshot_id, name).write_bytes(packed)
        (folder / "created_ms").write_text(str(self.manifest(snapshot_id)["created_ms"]))

    def reopen(self, snapshot_id: str, into: Path) -> Path:
        """Return the root below which a published snapshot's manifest and live.jsonl can be read.

        Of one that was collected they are unpacked from the archive into the folder ``into``.
        Raises SnapshotError when nothing of it is kept.
        """
        if (self.path(snapshot_id) / MANIFEST).exists():
            return self.root
        for packed in self.packed(snapshot_id, MANIFEST).parent.glob("*.gz"):
            folder = into / snapshot_id
            folder.mkdir(exist_ok=True)
            (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        if not (into / snapshot_id / MANIFEST).exists():
            raise SnapshotError(f"nothing of snapshot {snapshot_id} is kept under {self.root}")
        return into

    # -- trust -----------------------------------------------------------------------------------

    def verify(self, snapshot_id: str) -> list[str]:
        """Compare files, tables and the lake's files with the manifest; returns what differs."""
        from features.memory import ALERTS_GRAIN, GRAIN, PREVIOUS, PREVIOUS_ALERTS

        manifest = self.manifest(snapshot_id)
        faults = self._file_faults(snapshot_id)
        for name, source in manifest["inputs"].items():
            missing = [f for f in source["files"] if not Path(f).exists()]
            if missing:
                faults.append(
                    f"{name}: {len(missing)} of {len(source['files'])} files are gone, "
                    f"such as {missing[0]}; moved the data? "
                    "`execintel snapshots relocate LAKE_ROOT`"
                )
            cut = [f for f in source["files"] if f not in missing and not _is_whole(Path(f))]
            if cut:
                faults.append(
                    f"{name}: {len(cut)} of {len(source['files'])} files are cut short, such as "
                    f"{cut[0]}"
                )
        if not any(DATABASE in fault for fault in faults):
            before = manifest.get(PREVIOUS, {"state": "none"})
            kept = {PREVIOUS: {**before, "grain": GRAIN}} if before["state"] == "read" else {}
            if manifest.get(PREVIOUS_ALERTS, {"sha256": ""})["sha256"]:
                kept[PREVIOUS_ALERTS] = {**manifest[PREVIOUS_ALERTS], "grain": ALERTS_GRAIN}
            with open_snapshot(self.database(snapshot_id)) as con:
                for name, table in (manifest["tables"] | kept).items():
                    if table_digest(con, name, tuple(table["grain"])) != table["sha256"]:
                        faults.append(f"{name} has other rows than when it was published")
        return faults

    def _file_faults(self, snapshot_id: str) -> list[str]:
        try:
            manifest = self.manifest(snapshot_id)
        except SnapshotError as error:
            return [str(error)]
        faults = []
        for name, expected in manifest.get("files", {}).items():
            path = self.path(snapshot_id) / name
            if not path.exists():
                faults.append(f"{path} is missing")
            elif file_digest(path) != expected:
                faults.append(f"{path} has other bytes than when it was published")
        return faults

    def relocate(self, snapshot_id: str, lake_root: Path) -> int:
        """Point the snapshot's lake views at ``lake_root``; returns the number of views.

        The tables stay as they are; manifest and file digests follow. Each file is replaced at
        once, so readers go on, and a run that was killed is mended by running it again.
        """
        manifest = self.manifest(snapshot_id)
        old_root = manifest["lake_root"]
        draft = self.root / f".building-relocated-{snapshot_id}"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(self.path(snapshot_id), draft)
        with duckdb.connect(str(draft / DATABASE)) as con:
            for source in manifest["inputs"].values():
                moved = [str(lake_root / Path(f).relative_to(old_root)) for f in source["files"]]
                gone = [path for path in moved if not Path(path).exists()]
                if gone:
                    shutil.rmtree(draft)
                    raise SnapshotError(
                        f"{gone[0]} does not exist: is {lake_root} the lake's root?"
                    )
                source["files"] = moved
            con.begin()  # hundreds of comments, one write to disk
            rewritten = _rewrite_views(con, old_root, str(lake_root))
            con.commit()
        manifest["lake_root"] = str(lake_root)
        manifest["files"] = {p.name: file_digest(p) for p in draft.iterdir() if p.name != MANIFEST}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for path in draft.iterdir():
            fsync(path)
        for name in (DATABASE, MANIFEST):
            (draft / name).replace(self.path(snapshot_id) / name)
        fsync(self.path(snapshot_id))
        shutil.rmtree(draft)
        return rewritten


def _rewrite_views(con: duckdb.DuckDBPyConnection, old_root: str, new_root: str) -> int:
    views = con.sql(
        "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
    ).fetchall()
    for name, sql in views:
        columns = con.sql(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = $name",
            params={"name": name},
        ).fetchall()
        (text,) = con.sql(
            "SELECT comment FROM duckdb_views() WHERE view_name = $name", params={"name": name}
        ).fetchall()[0]
        # As SQL writes it, a quote in it doubled; the path goes on behind the root.
        moved = sql.replace(literal(f"{old_root}/")[:-1], literal(f"{new_root}/")[:-1])
        con.execute(moved.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
        con.execute(f"COMMENT ON VIEW {name} IS {literal(text)}")
        for column, words in columns:
            con.execute(f"COMMENT ON COLUMN {name}.{identifier(column)} IS {literal(words)}")
    return len(views)


def _is_whole(parquet: Path) -> bool:
    """Tell whether a Parquet file has its end, where all that its reader needs stands."""
    with parquet.open("rb") as file:
        file.seek(-min(4, parquet.stat().st_size), os.SEEK_END)
        return file.read() == b"PAR1"


def damaged(database: Path, error: duckdb.Error) -> SnapshotError:
    """Say of a database that cannot be read what to do about it."""
    if "Permission denied" in str(error):
        return SnapshotError(
            f"snapshot {database.parent.name} may not be read by this user: {error}"
        )
    return SnapshotError(
        f"snapshot {database.parent.name} cannot be read ({str(error).splitlines()[0]}): "
        "`execintel snapshots verify` says what is damaged, `execintel snapshots rollback "
        "--reason …` goes back"
    )


def open_snapshot(database: Path) -> duckdb.DuckDBPyConnection:
    """Open a snapshot's database for reading only.

    Raises SnapshotError when it is missing or damaged.
    """
    if not database.exists():
        raise SnapshotError(f"{database} does not exist: see `execintel snapshots list`")
    try:
        con = duckdb.connect(str(database), read_only=True)
    except duckdb.IOException as error:
        raise damaged(database, error) from error
    con.execute("SET TimeZone = 'UTC'")
    return con


def named_ms(snapshot_id: str) -> int:
    """Return the as-of in a snapshot's name, epoch ms, to the second."""
    moment = dt.datetime.strptime(f"{snapshot_id[:16]}+0000", "%Y%m%dT%H%M%SZ%z")
    return round(moment.timestamp() * 1000)
