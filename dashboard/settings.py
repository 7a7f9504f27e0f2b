"""What a dashboard process is told: flags, then the environment, then a YAML file, then defaults.

Put here: where each value comes from. Keep out: their ranges (features/settings.py).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import yaml

from features import setting_faults
from features.setting_faults import BadSettingError
from features.settings import Settings, in_environment, variable

SourceName = Literal["local", "firestore"]
_OWN = "DASHBOARD_SOURCE"  # the one name of a YAML file that is no setting of execintel
_THRESHOLD = "dashboard_alert_precision_threshold"
_TRACES = "analytics"  # where an engine writes its traces, below the data root


@dataclass(frozen=True)
class DashboardSettings:
    """The settings of execintel, and where the pages read."""

    base: Settings
    source: SourceName = "local"
    telemetry_dir: Path | None = None  # trace files there are shown until there is a snapshot

    @property
    def refresh_interval_s(self) -> float:
        return self.base.dashboard_refresh_interval

    def alert_precision_threshold(self, published: Mapping[str, Any]) -> float:
        """Return what the viewer set, else that of ``published`` parameters, else the default."""
        own = self.base.dashboard_alert_precision_threshold
        is_set = _THRESHOLD in self.base.model_fields_set
        return own if is_set else float(published.get(_THRESHOLD, own))


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end the process, which is the server of everybody's pages."""

    def error(self, message: str) -> NoReturn:
        raise BadSettingError(f"{message}; {self.format_usage().strip()}")


def parser() -> argparse.ArgumentParser:
    """Return what reads the words behind `--` of `streamlit run dashboard/app.py -- …`."""
    words = _Parser(prog="streamlit run dashboard/app.py --", allow_abbrev=False, add_help=False)
    words.add_argument(
        "--telemetry-dir",
        type=Path,
        metavar="DIR",
        help="a data root, or a folder inside one such as data/analytics: its snapshots are shown;"
        " before the first, what the trace files in it say",
    )
    words.add_argument(
        "--refresh-interval",
        metavar="S",
        help="seconds between two looks for a newer snapshot, 5 to 300",
    )
    words.add_argument(
        "--alert-precision-threshold",
        metavar="P",
        help="precision below which a strategy is alerted of, 0 to 1; unset, that of the snapshot",
    )
    words.add_argument("--source", choices=get_args(SourceName), help="where snapshots are read")
    words.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with settings under their environment names, such as DASHBOARD_REFRESH_INTERVAL",
    )
    return words


def load(argv: Sequence[str]) -> DashboardSettings:
    """Read the settings of this process from flags, environment and YAML.

    Raises BadSettingError with the name, the value and the allowed range of what is wrong.
    """
    flags = parser().parse_args(argv)
    named = _of_yaml(flags.config) if flags.config else {}
    source = flags.source or named.pop(_OWN, "local")
    if source not in get_args(SourceName):
        raise BadSettingError(f"{_OWN} = {source!r}: allowed are local and firestore")
    values = {n: v for n, v in named.items() if in_environment(n) in (None, "")}
    if flags.telemetry_dir is not None:
        values["home"] = data_root(flags.telemetry_dir)
    if flags.refresh_interval is not None:
        values["dashboard_refresh_interval"] = flags.refresh_interval
    if flags.alert_precision_threshold is not None:
        values[_THRESHOLD] = flags.alert_precision_threshold
    return DashboardSettings(setting_faults.load(**values), source, flags.telemetry_dir)


def data_root(folder: Path) -> Path:
    """Return the data root that a folder is, or lies in: the nearest with snapshots or a lake.

    Before the first refresh there is none: then the folder itself, or the one above `analytics`.
    Raises BadSettingError where the folder is not there.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise BadSettingError(
            f"--telemetry-dir {folder}: there is no such folder; name a data root, or a folder"
            " inside one"
        )
    for each in (folder, *folder.parents):
        if (each / "snapshots").is_dir() or (each / "lake").is_dir():
            return each
    return folder.parent if folder.name == _TRACES else folder


def _of_yaml(path: Path) -> dict[str, Any]:
    """Return the settings of a YAML file by field name.

    Raises BadSettingError where it cannot be read or holds an unknown name.
    """
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettingError(f"--config {path}: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadSettingError(
            f"--config {path}: it must hold names and values, such as"
            " DASHBOARD_REFRESH_INTERVAL: 30"
        )
    fields = {variable(name): name for name in Settings.model_fields} | {_OWN: _OWN}
    unknown = [str(name) for name in found if name not in fields]
    if unknown:
        raise BadSettingError(
            f"--config {path}: {', '.join(unknown)} is no setting; docs/configuration.md lists"
            " their environment names"
        )
    return {fields[name]: value for name, value in found.items()}
