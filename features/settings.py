"""One frozen Settings object a process: defaults, execintel.toml, environment variables above it.

Put here: what may be configured and its allowed range. Keep out: thresholds (params.toml).
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from features import params as parameters

Environment = Literal["live", "testnet", "paper", "backtest"]

# What follows the first group is hidden before a line is stored. Each needs =, : or white space in
# what it matches: the intake looks for those first.
SECRET_PATTERNS = (
    r"(?i)((?:signature|api[_-]?key|secret(?:[_-]?key)?|private[_-]?key|listen[_-]?key|token"
    r"|passphrase|password|passwd|x-mbx-apikey)[\\\"']*\s*[=:]\s*[\\\"']*)"
    r"(?:[\[{][^\]}]*|[^\\\"'&\s,}]+)",
    r"(?i)(bearer\s+)[\w.~+/=-]+",
    r"(://[^/\s:@\"']+:)[^/\s:@\"']+@",
)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise ValueError(f"{name!r} is no time zone; write it as Europe/Berlin or UTC") from error
    return name


Zone = Annotated[str, AfterValidator(_zone)]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _storable(path: Path) -> Path:
    path = _absolute(path)
    odd = sorted({character for character in "%[]" if character in str(path)})
    if odd:
        raise ValueError(
            f"{path} holds {' '.join(odd)}, which the lake's tables cannot be named with"
        )
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
StorablePath = Annotated[Path, AfterValidator(_storable)]


def _cron(text: str) -> str:
    if not re.fullmatch(r"(?:[\d*/,-]+ +){4}[\d*/,-]+", text):
        raise ValueError(f"{text!r} is no cron expression of five numeric fields, as */5 * * * *")
    return text


Cron = Annotated[str, AfterValidator(_cron)]


class LogFolder(BaseModel):
    """A folder of logs, bars or traces, and what its lines do not say themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: AbsolutePath
    account: str = "default"
    environment: Environment = "paper"
    venue: str | None = None
    naive_zone: Zone = "UTC"


class Freshness(BaseModel):
    """How long a source may be silent, and whether silence blocks publication."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: bool = False
    max_silence_s: Annotated[int, Field(ge=1)] = 86_400


class Settings(BaseSettings):
    """What a program needs to know about its surroundings; constructed once, never changed."""

    model_config = SettingsConfigDict(
        env_prefix="EXECINTEL_",
        env_ignore_empty=True,  # EXECINTEL_LOG_DIR= is no folder, least of all the current one
        frozen=True,
        extra="forbid",
        validate_default=True,
        validate_by_name=True,  # beside the names that US-017 fixed, which have no prefix
    )

    home: StorablePath = Field(Path("data"), description="root of lake and snapshots")
    log_dir: AbsolutePath | None = Field(
        None, description="folder of logs, beside those in [[logs]]"
    )
    logs: tuple[LogFolder, ...] = Field((), description="[[logs]] tables of execintel.toml")
    environment: Environment = Field("paper", description="the one environment of the snapshot")
    account: str = Field("default", min_length=1, description="account of lines that name none")
    venue: str | None = Field(None, description="venue of lines that name none")
    naive_zone: Zone = Field("UTC", description="zone of time stamps without one")
    window_days: int = Field(7, ge=1, le=90, description="days of history in the window tables")
    snapshot_max_age_s: int = Field(900, ge=1, description="an older snapshot is stale")
    equity_usd: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="equity where the logs name none"
    )
    engine: Literal["duckdb"] = Field("duckdb", description="engine that runs the SQL")
    history_days: int = Field(
        365, ge=1, le=3650, description="days that published rows stay in the history"
    )
    refresh_cron: Cron = Field("*/5 * * * *", description="when the schedule refreshes, UTC")
    exec_intel_publish_interval_s: float = Field(
        300,
        ge=30,
        le=3600,
        validation_alias="EXEC_INTEL_PUBLISH_INTERVAL_S",
        description="seconds between two mirrored documents of an active symbol",
    )
    memory_limit_mb: int = Field(1024, ge=256, description="memory of the engine")
    symbol_key: Literal["symbol", "venue_symbol"] = Field(
        "symbol", description="venue_symbol keeps one symbol on two venues apart"
    )
    atr_bar_interval: Literal["1m", "5m", "15m", "1h"] = Field(
        "15m", description="length of the bars that volatility regimes are judged by"
    )
    freshness: dict[str, Freshness] = Field(
        default_factory=dict, description="[freshness.<raw table>]: required, max_silence_s"
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="[params]: overrides of features/params.toml"
    )
    secret_patterns: tuple[str, ...] = Field(
        SECRET_PATTERNS, description="regular expressions of secrets; the first group stays"
    )
    origin: Literal["logs", "demo"] = Field("logs", description="demo marks generated data")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = config_path()
        toml = TomlConfigSettingsSource(settings_cls, config) if config else None
        return tuple(source for source in (init_settings, env_settings, toml) if source)

    @field_validator("params")
    @classmethod
    def _valid(cls, value: dict[str, Any]) -> dict[str, parameters.Value]:
        known = parameters.load(value)
        return {name: known[name] for name in value}

    @field_validator("secret_patterns")
    @classmethod
    def _compiles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"{pattern!r} needs exactly one group: what stays visible")
        return value

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """Let a [[logs]] table inherit account, environment, venue and zone."""
        if isinstance(data, dict) and isinstance(data.get("logs"), list | tuple):
            inherited = {
                name: data[name]
                for name in ("account", "environment", "venue", "naive_zone")
                if data.get(name) is not None
            }
            data = dict(data)
            data["logs"] = [
                {**inherited, **folder} if isinstance(folder, dict) else folder
                for folder in data["logs"]
            ]
        return data

    def log_folders(self) -> tuple[LogFolder, ...]:
        """Return every folder that the intake looks into."""
        folders = list(self.logs)
        if self.log_dir is not None:
            folders.append(
                LogFolder(
                    path=self.log_dir,
                    account=self.account,
                    environment=self.environment,
                    venue=self.venue,
                    naive_zone=self.naive_zone,
                )
            )
        return tuple(folders)

    @property
    def lake_root(self) -> Path:
        return self.home / "lake"

    @property
    def snapshots_root(self) -> Path:
        return self.home / "snapshots"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"EXECINTEL_{name.upper()}"


def config_path() -> Path | None:
    """Return the configuration file in force: EXECINTEL_CONFIG, else ./execintel.toml if there."""
    named = os.environ.get("EXECINTEL_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"EXECINTEL_CONFIG names {path}, which does not exist")
        return path.absolute()
    local = Path("execintel.toml")
    return local.absolute() if local.is_file() else None
