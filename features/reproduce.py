"""Compute a snapshot again from the raw versions its manifest names, and compare digests.

Put here: rebuilding for the sake of proof, in a temporary lake. Keep out: anything that publishes.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from features import build, live_lines, params
from features.before import kept
from features.durations import DAY_MS
from features.engines import duckdb as engine
from features.events import Listener
from features.lake import Lake, LakeDamageError, LakeTable
from features.memory import Before
from features.rebuild import rebuild
from features.settings import Freshness, Settings
from features.snapshot import SnapshotError, Store

# The window's tables look this far around it: files are chosen a day wide, joins reach a day more.
_MARGIN_MS = 2 * DAY_MS


@dataclass(frozen=True)
class Reproduced:
    """One table, or live.jsonl: the digest in the manifest and the one that this run computed."""

    table: str
    rows: int
    expected: str
    found: str

    @property
    def is_equal(self) -> bool:
        return self.expected == self.found


class _LakeAt(Lake):
    """Raw tables of ``source`` at fixed versions; every other table in a lake of its own."""

    def __init__(self, root: Path, source: Lake, versions: Mapping[str, int]) -> None:
        super().__init__(root)
        self._source = source
        self._versions = versions

    def path(self, table: str) -> Path:
        return self._source.path(table) if table in self._versions else super().path(table)

    def open(self, table: str, version: int | None = None) -> LakeTable:
        return super().open(table, self._versions.get(table, version))


def rebuild_snapshot(
    store: Store,
    settings: Settings,
    snapshot_id: str,
    scratch: Path,
    listen: Listener = lambda event: None,
) -> list[Reproduced]:
    """Compute the tables of a snapshot again and return them beside what its manifest says.

    Environment, window and parameters come from the manifest, never from ``settings``, which
    only bounds memory. ``scratch`` is created and removed. The caller holds the writer lock.

    Raises:
        SnapshotError: other code than the snapshot's, or a raw version that is gone or has
            other rows.
    """
    manifest = store.manifest(snapshot_id)
    if manifest["code"] != build.code_version():
        raise SnapshotError(
            f"{snapshot_id} was built by code {manifest['code']}, this is {build.code_version()}: "
            "install the release that built it and rebuild there"
        )
    versions = {
        name: source["version"]
        for name, source in manifest["inputs"].items()
        if name.startswith("raw_")
    }
    lake = _LakeAt(scratch / "lake", Lake(Path(manifest["lake_root"])), versions)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _require_inputs(lake, manifest, versions)
        remembered = kept(store, snapshot_id)
        settings = settings_of(manifest, settings)
        return _compute(lake, settings, manifest, versions, remembered, scratch, listen)
    except duckdb.IOException as error:
        raise SnapshotError(
            f"{snapshot_id} cannot be rebuilt, a file of its inputs is gone: "
            f"{str(error).splitlines()[0]}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def settings_of(manifest: Mapping[str, Any], settings: Settings) -> Settings:
    """Return ``settings`` with everything that decides rows as the manifest says."""
    values = manifest["params"]
    rules: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key.startswith("freshness."):
            name, _, field = key.removeprefix("freshness.").rpartition(".")
            rules.setdefault(name, {})[field] = value
    return settings.model_copy(
        update={
            "environment": values["environment"],
            "window_days": values["window_days"],
            "symbol_key": values["symbol_key"],
            "equity_usd": values["equity_usd"],
            "atr_bar_interval": values["atr_bar_interval"],
            "freshness": {name: Freshness(**rule) for name, rule in rules.items()},
            "params": {name: values[name] for name in params.definitions() if name in values},
        }
    )


def _require_inputs(lake: Lake, manifest: Mapping[str, Any], versions: Mapping[str, int]) -> None:
    for name, version in versions.items():
        try:
            found = build.read_input(name, lake.open(name))
        except LakeDamageError as error:
            raise SnapshotError(
                f"{name} cannot be opened at version {version} any more: upkeep removed it, or the "
                f"lake {manifest['lake_root']} was moved (`execintel snapshots relocate`). "
                f"What was found: {error}"
            ) from error
        expected = manifest["inputs"][name]
        if (found.rows, found.digest) != (expected["rows"], expected["digest"]):
            raise SnapshotError(
                f"{name} version {version} holds {found.rows} rows with digest {found.digest}, "
                f"the manifest says {expected['rows']} and {expected['digest']}: "
                "the lake was written anew since; this snapshot can only be verified"
            )


def _compute(
    lake: Lake,
    settings: Settings,
    manifest: Mapping[str, Any],
    versions: Mapping[str, int],
    remembered: Before,
    scratch: Path,
    listen: Listener,
) -> list[Reproduced]:
    as_of_ms = manifest["as_of_ms"]
    spill = scratch / "spill"
    window_ms = (
        as_of_ms - settings.window_days * DAY_MS - _MARGIN_MS,
        as_of_ms + _MARGIN_MS,
    )
    con = engine.connect(
        memory_limit_mb=settings.memory_limit_mb, threads=settings.threads, spill=spill
    )
    try:
        rebuild(
            lake,
            con,
            params.load(settings.params),
            window_ms=window_ms,
            window_only=True,
            listen=listen,
        )
    finally:
        con.close()
    core = {name: lake.open(name).version() for name in manifest["inputs"] if name not in versions}
    plan = build.plan_build(
        lake, settings, tuple(versions), as_of_ms, {**versions, **core}, remembered
    )
    plan = replace(plan, code=manifest["code"])
    con = build.open_database(scratch / "features.duckdb", settings, spill)
    try:
        built = build.run_tables(con, lake, plan, listen=listen)
        lines = build.live_jsonl(con, plan, manifest["snapshot_id"], manifest["account"])
    finally:
        con.close()
    tables = [
        Reproduced(name, built.rows.get(name, 0), table["sha256"], built.digests.get(name, "–"))
        for name, table in manifest["tables"].items()
    ]
    engines = Reproduced(
        live_lines.FILE,
        lines.count(b"\n"),
        manifest["files"][live_lines.FILE],
        hashlib.sha256(lines).hexdigest(),
    )
    return [*tables, engines]
