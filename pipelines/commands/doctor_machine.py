"""What `execintel doctor` says of this machine: settings, log files, lake, history, mirror, disk.

Put here: looking and advising. Keep out: changing anything; what is published (doctor_current.py).
"""

import difflib
import os
import shutil
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from features.words import counted, minute
from pipelines.commands import common
from pipelines.commands.findings import Findings, some

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store
    from pipelines.intake.sources import LogFile

_HALF_LINE_S = 600.0  # without a byte more, for a line that is still being written
_FREE_SHARE = 0.05
_FOLDERS = (
    "lake",
    "lake/hist_features",
    "snapshots",
    "snapshots/archive",
    "cache",
    "dagster",
)


def configured(settings: "Settings") -> None:
    from features.settings import Settings, config_path, variable

    config = config_path()
    named = tomllib.loads(config.read_text("utf-8")) if config else {}
    variables = {name.upper() for name in os.environ}
    rows = []
    for name in Settings.model_fields:
        if name == "secret_patterns":
            continue
        value = getattr(settings, name)
        if variable(name) in variables:
            origin = variable(name)
        elif name in named and config:
            origin = config.name
        else:
            origin = "default"
        if name == "trading":
            rows += _changed_trading(settings, origin)
        elif origin != "default" or value not in (None, (), {}):
            rows.append((name, _plain(value), origin))
    common.show_table(
        f"Configured ({config or 'no execintel.toml'})", ("setting", "value", "from"), rows, left=3
    )


def misspelt(settings: "Settings", found: Findings) -> None:
    """Note what looks like a setting and is none: it has no effect, which nobody would see."""
    from features.settings import OTHER_VARIABLES, Settings, variable
    from pipelines.intake.kinds import RAW_TABLES

    known = {*map(variable, Settings.model_fields), *OTHER_VARIABLES}
    for name in sorted(os.environ):
        if name.upper().startswith(("EXECINTEL_", "EXEC_INTEL_")) and name.upper() not in known:
            found.notes.append(f"variable {name} is no setting{_meant(name.upper(), known)}")
    for name in sorted(set(settings.freshness) - set(RAW_TABLES)):
        found.broken.append(f"[freshness.{name}]: no such source{_meant(name, RAW_TABLES)}")


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f": perhaps {near[0]} is meant" if near else ": it has no effect"


def _changed_trading(settings: "Settings", origin: str) -> list[tuple[str, str, str]]:
    usual = type(settings.trading)()
    return [
        (f"trading.{name}", _plain(value), origin)
        for name, value in settings.trading
        if value != getattr(usual, name)
    ]


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(getattr(item, "path", item)) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return common.text(value)


def files(settings: "Settings", found: Findings) -> None:
    from live.backtest import RESULT
    from pipelines.audit import SUMMARY
    from pipelines.intake import sources
    from pipelines.intake.kinds import RAW_TABLES

    folders = settings.log_folders()
    if not folders:
        found.broken.append(
            "no log folder is configured: set EXECINTEL_LOG_DIR or [[logs]] in execintel.toml"
        )
        return
    looked = sources.discover(folders)
    sizes: dict[str, list[int]] = {name: [] for name in RAW_TABLES}
    for file in looked.files:
        sizes[file.kind.table].append(file.path.stat().st_size)
    common.show_table(
        f"Found in {', '.join(str(folder.path) for folder in folders)}",
        ("raw table", "files", "bytes"),
        [(name, len(each), common.size(sum(each))) for name, each in sizes.items()],
    )
    if not looked.files:
        found.broken.append(
            "no file has the name of a log: docs/configuration.md lists the names that are read"
        )
    found.broken += [f"{problem.path}: {problem.what}" for problem in looked.problems]
    found.broken += some(_unreadable(file.path for file in looked.files), "unreadable log files")
    found.notes += some(_half(settings, looked.files), "log files that end in half a line")
    found.notes += some(
        [
            f"{path}: no kind claims it, so it is not read"
            for path in looked.unclaimed
            if path.name not in (RESULT, SUMMARY)  # our own, beside the logs they are of
        ],
        "files that no kind claims",
    )


def _half(settings: "Settings", files: Iterable["LogFile"]) -> list[str]:
    """Say which files end without a newline for long: nothing says that the line is whole."""
    from pipelines.intake.sources import SeenFiles

    seen = SeenFiles.of(settings.home)
    told = []
    for file in files:
        try:
            size, changed_s = seen.waiting(file.path), file.path.stat().st_mtime
        except FileNotFoundError:  # rotated away just now
            continue
        if size and time.time() - changed_s > _HALF_LINE_S:
            told.append(
                f"{file.path} ends in {counted(size, 'byte')} without a newline since "
                f"{minute(round(changed_s * 1000))}: they are read once their line ends. "
                "Where nothing more will come, end it with a newline"
                + (" (unpack it, and pack it again)" if file.path.suffix == ".gz" else "")
            )
    return told


def _unreadable(paths: Iterable[Path]) -> list[str]:
    """Say of each log file that cannot be opened why, and what to do; nothing of it is read."""
    from pipelines.intake.lines import LogReader, UnreadableFile

    told = []
    for path in paths:
        try:
            LogReader(path).close()
        except UnreadableFile as error:
            told.append(str(error))
        except FileNotFoundError:  # rotated away just now
            continue
    return told


def lake(settings: "Settings", found: Findings) -> None:
    from features.lake import FORMAT_VERSION, Lake, LakeDamageError, data_files, mending

    marker = settings.lake_root / "FORMAT"
    if not marker.exists():
        common.say(f"lake: none yet at {settings.lake_root}; execintel refresh makes it")
        return
    version = marker.read_text().strip()
    common.say(f"lake: {settings.lake_root}, format {version}")
    if version != str(FORMAT_VERSION):
        found.broken.append(
            f"the lake has format {version}, this release reads {FORMAT_VERSION}: use the release "
            "that wrote it, or point EXECINTEL_HOME at a new folder"
        )
    lake = Lake(settings.lake_root)
    for path in sorted(lake.root.iterdir()):
        if not path.is_dir():
            continue
        try:
            files = data_files(lake.open(path.name))
        except LakeDamageError as error:
            found.broken.append(str(error))
            continue
        except OSError as error:
            found.broken.append(f"{path} cannot be read ({error}). {mending(path.name)}")
            continue
        harmed = [file.path for file in files if _bytes_of(file.path) != file.bytes]
        if harmed:
            found.broken.append(
                f"{counted(len(harmed), 'file')} of {path} gone or cut short, such as {harmed[0]}. "
                f"{mending(path.name)}"
            )


def _bytes_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def history(settings: "Settings", store: "Store", found: Findings) -> None:
    from features import history_store
    from features.lake import Lake, LakeDamageError

    lake = Lake(settings.lake_root)
    try:
        kept = history_store.summary(lake)
        history_store.read_to(lake, store)
    except history_store.HistoryError as error:
        found.broken.append(str(error))
    except (LakeDamageError, OSError):
        return  # told with the tables of the lake
    if kept.first_ms is None:
        return
    common.say(
        f"history: {counted(kept.publication_n, 'publication')} since "
        f"{common.when(kept.first_ms)}, kept {settings.history_days} days"
    )
    if kept.without_rows_n:
        found.notes.append(
            f"{kept.without_rows_n} publications stand in the history without rows: their "
            "snapshots were damaged before they were kept"
        )


def mirror() -> None:
    from live.mirror.link import hedge_env, where

    found = where()
    if found is None:
        common.say("mirror: off, neither GOOGLE_CLOUD_PROJECT nor FIRESTORE_EMULATOR_HOST is set")
    else:
        common.say(f"mirror: {found}, hedge/{hedge_env()}; execintel mirror says what stands there")


def disk(settings: "Settings", found: Findings) -> None:
    rows = []
    for name in _FOLDERS:
        folder = settings.home / name
        if folder.is_dir():
            rows.append((name, common.size(_bytes_below(folder))))
    if not rows:
        return
    disk = shutil.disk_usage(settings.home)
    rows.append(("free on this disk", common.size(disk.free)))
    common.show_table(f"Disk under {settings.home}", ("folder", "bytes"), rows)
    if disk.free < _FREE_SHARE * disk.total:
        found.broken.append(
            f"only {common.size(disk.free)} are free under {settings.home}: execintel upkeep "
            "removes what is not needed, else give it room"
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # a running refresh moves files
                continue
    return total
