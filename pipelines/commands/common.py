"""What every command shares: settings, one-line errors, times, tables, a progress bar.

Put here: how the terminal speaks. Keep out: anything a single command does.
"""

import errno
import itertools
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.core
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from features.words import (
    UNKNOWN,
    interval,
    minute,
    number,
    plain,
    share,
    size,
    span,
    text,
    when,
    with_n,
)
from features.words import parse_time as iso_ms

if TYPE_CHECKING:
    import duckdb

    from features.events import Event, Listener
    from features.settings import Settings
    from features.snapshot import Store

__all__ = [
    "MAKER_FIRST",
    "UNKNOWN",
    "CommandError",
    "PlainGroup",
    "complain",
    "console",
    "counting",
    "each",
    "home_trouble",
    "interval",
    "is_disk_trouble",
    "is_expected",
    "load_settings",
    "minute",
    "newest_line_ms",
    "no_folder",
    "now_ms",
    "number",
    "open_store",
    "parse_time",
    "plain",
    "progress",
    "say",
    "share",
    "show_fields",
    "show_table",
    "size",
    "span",
    "text",
    "when",
    "with_n",
]

MAKER_FIRST = {True: "yes", False: "no", None: "strategy"}  # as tables write it
_PIPE_WIDTH = 2000  # columns where no terminal says its own: lines stay whole for grep


class CommandError(RuntimeError):
    """What was asked for cannot be done; the text says why and what to do next."""


class PlainGroup(typer.core.TyperGroup):
    """The top command: an expected error is one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if _is_interruption(error):
                raise KeyboardInterrupt from error  # as between two statements
            told = str(error) if is_expected(error) else None
            words = (
                _unwritten(error)
                or _lake_damage(error)
                or home_trouble(error)
                or _full_disk(error)
                or told
            )
            if words is None:
                raise
            complain(f"error: {words}")
            raise typer.Exit(1) from error


def _is_interruption(error: Exception) -> bool:
    """Tell Ctrl-C that came while the engine worked, which has a way of its own to say so."""
    return isinstance(error, RuntimeError) and str(error).startswith("Query interrupted")


def _unwritten(error: Exception) -> str | None:
    """Say that what a command prints has no room, if that is so: its work may be done."""
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return None  # who reads no further, as head, knows it
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not str(frame.f_globals.get("__name__")).startswith(("rich.", "click.", "typer.")):
        return None
    return (
        f"what this says cannot be written: {error}. It may have done its work all the same: look "
        "before you run it again"
    )


# How DuckDB tells a Parquet file whose inside is other bytes than were written.
_GARBLED = re.compile("TProtocolException|Out of buffer|ZSTD|[Dd]ecompress|Thrift")


def _lake_damage(error: Exception) -> str | None:
    """Say how a lake is mended where an error names a file of it, else None."""
    if type(error).__name__ == "Error" and _GARBLED.search(str(error)):  # it names no file
        return (
            f"a Parquet file that this reads is damaged: {str(error).splitlines()[0]}\n"
            "execintel doctor and snapshots verify name files that are gone or cut short. Else "
            "move the folders of core_* below the lake away and refresh; if that does not help, "
            "those of raw_*, which are read anew from the logs"
        )
    is_of_reading = type(error).__name__ in ("IOException", "InvalidInputException", "DeltaError")
    if not is_of_reading and not isinstance(error, OSError):
        return None  # a fault of the program may name a file too
    words = str(error)
    found = re.search(r"""[^'"]*/lake/(\w+)/[^'":]*\.(parquet|json)\b""", words)
    if found is None or "Permission denied" in words or is_disk_trouble(error):
        return None
    from features.lake import mending

    return f"{found[0]} is gone or damaged: {words.splitlines()[0]}\n{mending(found[1])}"


def is_expected(error: Exception) -> bool:
    """Tell an error that a person can mend from a fault of the program."""
    mine = (CommandError, PermissionError)
    return isinstance(error, (*mine, *_mendable())) or is_disk_trouble(error)


def _mendable() -> list[type[Exception]]:
    # What raised it is imported by now: asking for the others' modules would take a second.
    return [getattr(sys.modules[m], name) for m, name in _MENDABLE if m in sys.modules]


_MENDABLE = (
    ("features.history_store", "HistoryError"),
    ("features.lake", "LakeDamageError"),
    ("features.lake", "LakeFormatError"),
    ("features.lock", "WriterBusyError"),
    ("features.params", "ParameterError"),
    ("features.snapshot", "SnapshotError"),
    ("live.snapshot.published", "PublishedError"),
)


def is_disk_trouble(error: Exception) -> bool:
    """Tell an error of a full, limited or read-only disk, whoever wrapped it."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EDQUOT)
    words = str(error)
    return any(os.strerror(n) in words for n in (errno.ENOSPC, errno.EFBIG, errno.EROFS))


def _full_disk(error: Exception) -> str | None:
    """Say what to do where an error came from a disk without room, else None."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not is_full and os.strerror(errno.ENOSPC) not in str(error):
        return None
    try:
        home = load_settings().home
        free = size(shutil.disk_usage(home).free)
    except (CommandError, OSError):
        return None
    return (
        f"{error}\n{free} are free on the disk of {home}. What stood there before stays as it was: "
        "make room and run the same again; execintel doctor says what takes it"
    )


def home_trouble(error: Exception) -> str | None:
    """Say that the data root cannot be used where an error came from that, else None."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return None
    try:
        home = load_settings().home
    except (CommandError, OSError):
        return None
    if not Path(error.filename).is_relative_to(home):
        return None
    if error.errno == errno.EROFS:
        return f"{error.filename}: the file system is read-only, and this command writes there"
    if home.is_dir() and os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return None
    if home.is_dir():
        return (
            f"{error.filename}: {error.strerror}. This user needs permission to read below {home}, "
            "and to write there for what changes anything"
        )
    return (
        f"the data root {home} cannot be used ({error.strerror}): set EXECINTEL_HOME to a folder "
        "that exists or can be created, and may be written"
    )


# -- settings -----------------------------------------------------------------------------------


def load_settings(**overrides: Any) -> "Settings":
    """Construct the settings of this process.

    Raises CommandError naming each bad value, its allowed range and where it may be set.
    """
    from features import setting_faults

    try:
        return setting_faults.load(**overrides)
    except setting_faults.BadSettingError as error:
        raise CommandError(str(error)) from error


def open_store(settings: "Settings") -> "Store":
    from features.snapshot import Store

    return Store(settings.snapshots_root)


def no_folder(path: Path) -> str:
    """Say why a path is no folder."""
    return "this is a file: name its folder" if path.exists() else "there is no such folder"


# -- time ---------------------------------------------------------------------------------------


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def parse_time(words: str) -> int:
    """Return epoch ms of an ISO 8601 time; without zone it is UTC."""
    try:
        return iso_ms(words)
    except ValueError as error:
        raise CommandError(str(error)) from None


# -- words and tables ---------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    probe = Console(stderr=stderr)
    if probe.is_terminal:
        return probe
    return Console(stderr=stderr, width=_PIPE_WIDTH)


def say(text: str = "", style: str = "") -> None:
    """Print one line as it is: no markup, no wrapping."""
    console().print(Text(_plain_lines(text), style=style), soft_wrap=True)


def complain(text: str) -> None:
    console(stderr=True).print(Text(_plain_lines(text), style="red"), soft_wrap=True)


def _plain_lines(words: str) -> str:
    return "\n".join(plain(line) for line in words.split("\n"))


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    left: int = 1,
    has_words: bool = False,
    is_wide: bool = False,
    styles: Sequence[str] = (),
) -> None:
    """Print a table; the first ``left`` columns are text, the others numbers on the right.

    With ``has_words`` the last column is text too. On a narrow terminal text folds and numbers end
    in …; ``is_wide`` leaves both whole. ``styles`` are those of the rows.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for place, name in enumerate(columns):
        is_text = place < left or (has_words and place == len(columns) - 1)
        table.add_column(
            Text(name),
            justify="left" if is_text else "right",
            overflow="fold" if is_text else "ellipsis",
            no_wrap=place == 0 or not is_text,
        )
    for row, style in itertools.zip_longest(rows, styles):
        table.add_row(*(Text(text(value)) for value in row), style=style)
    terminal = console()
    if is_wide:
        terminal.width = _PIPE_WIDTH
    say()
    if title:
        say(title, style="bold")
    terminal.print(table)


def show_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, folded beside the name on a narrow terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in fields:
        table.add_row(Text(name), Text(text(words)))
    console().print(table)


# -- progress -----------------------------------------------------------------------------------

_STEPS = {
    "intake": "reading log lines",
    "core": "rebuilding core tables",
    "build": "computing feature tables",
    "publish": "publishing",
}


class _Bars:
    """Turn events into one bar a step; totals may be estimates, so a step's end completes it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.current: tuple[str, TaskID] | None = None

    def __call__(self, event: "Event") -> None:
        step = event.name.partition(".")[0]
        if step not in _STEPS:
            return
        if self.current is None or self.current[0] != step or event.total is not None:
            self.end()
            words = _STEPS[step] if step != "core" else f"{_STEPS[step]}: {event.table or ''}"
            self.current = (step, self.progress.add_task(words, total=event.total))
        if event.done is not None:
            self.progress.advance(self.current[1], event.done)

    def end(self) -> None:
        if self.current is not None:
            self.progress.remove_task(self.current[1])
            self.current = None


def _bar() -> Progress:
    shown = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=shown,
        transient=True,
        disable=not (shown.is_terminal and sys.stderr.isatty()),
    )


@contextmanager
def progress() -> Iterator["Listener"]:
    """Show a bar on a terminal while the block runs; yields what listens to its events."""
    with _bar() as bars:
        yield _Bars(bars)


@contextmanager
def counting(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while the block runs; yields what is told done and total."""
    with _bar() as bars:
        task = bars.add_task(words, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def each(items: Sequence[str], words: str) -> Iterator[str]:
    """Yield the items with a bar on a terminal."""
    with counting(words) as count:
        for done, item in enumerate(items):
            count(done, len(items))
            yield item


def newest_line_ms(settings: "Settings") -> int | None:
    """Return the time of the newest line that was read, None without one or without a lake.

    Bars do not count: they may end long after the last order.
    """
    from features.lake import Lake, data_files
    from pipelines.intake.kinds import RAW_TABLES

    lake = Lake(settings.lake_root)
    names = [name for name in RAW_TABLES if not name.startswith("raw_market__")]
    newest: list[int | None] = [
        file.maximum.get("event_ms")
        for name in names
        if lake.exists(name)
        for file in data_files(lake.open(name))
    ]
    return max((moment for moment in newest if moment is not None), default=None)


def has_table(con: "duckdb.DuckDBPyConnection", table: str) -> bool:
    """Tell whether a snapshot has a table that older versions did not build."""
    sql = "SELECT 1 FROM duckdb_tables() WHERE table_name = $table"
    return bool(con.sql(sql, params={"table": table}).fetchall())
