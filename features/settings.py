"""One frozen Settings object a process: defaults, execintel.toml, environment variables above it.

Put here: what may be configured and its allowed range. Keep out: thresholds (params.toml).
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from features import params as parameters

Environment = Literal["live", "testnet", "paper", "backtest"]
DECISIONS = ("size", "offset", "policy")  # what of a snapshot may act on an order

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


_ALSO_PARAMETERS = (
    "intraday_telemetry_threshold",
    "swing_telemetry_threshold",
    "dashboard_alert_precision_threshold",
)
Zone = Annotated[str, AfterValidator(_zone)]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _storable(path: Path) -> Path:
    path = _absolute(path).resolve()  # Delta follows links: paths must be one and the same
    odd = [character for character in "%*?[]" if character in str(path)]
    if odd:
        raise ValueError(
            f"{path} holds {' '.join(odd)}, which Delta or DuckDB would not take for a letter"
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


Pct = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]


class Trading(BaseModel):
    """How an engine trades and what it may never exceed; percentages are of account equity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gross_target_usd: float = Field(1_000.0, gt=0, le=1e9, description="a trade before factors")
    paper_equity_usd: float = Field(10_000.0, gt=0, le=1e12, description="paper account's start")
    max_order_usd: float = Field(5_000.0, gt=0, le=1e9, description="largest single order")
    max_leverage: float = Field(2.0, gt=0, le=20, description="gross exposure over equity")
    max_symbol_pct: Pct = 50.0
    max_bucket_pct: Pct = 100.0
    max_portfolio_pct: Pct = 150.0  # of net exposure, long less short
    max_gross_pct: Pct = 200.0
    buckets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="symbols that stand under one cap, by bucket"
    )
    max_orders_minute: int = Field(30, ge=1, le=10_000)
    max_orders_hour: int = Field(300, ge=1, le=100_000)
    price_band_pct: float = Field(3.0, gt=0, le=50, description="farthest price from the mark")
    max_spread_bps: float = Field(30.0, gt=0, le=1_000)
    max_move_pct: float = Field(5.0, gt=0, le=100, description="largest move within a minute")
    max_quote_age_s: float = Field(90.0, gt=0, le=86_400 * 7)
    drawdown_reduce_pct: float = Field(3.0, gt=0, le=100, description="only reduce from here on")
    drawdown_halt_pct: float = Field(5.0, gt=0, le=100, description="halt until resumed")
    clock_warn_ms: float = Field(250.0, gt=0, le=60_000)
    clock_stop_ms: float = Field(1_000.0, gt=0, le=60_000)
    maker_window_s: float = Field(60.0, ge=1, le=3_600, description="time a maker order gets")
    maker_min_fill: float = Field(0.4, ge=0, le=1, description="share filled that buys more time")
    collar_bps: float = Field(50.0, gt=0, le=1_000, description="a taker's worst price from mid")
    maker_fee_bps: float = Field(-1.0, ge=-50, le=100, description="paper venue's maker fee")
    taker_fee_bps: float = Field(5.0, ge=-50, le=100, description="paper venue's taker fee")
    reconcile_s: float = Field(60.0, ge=1, le=3_600)
    loop_ms: float = Field(250.0, ge=1, le=10_000, description="sleep between two turns")
    shutdown_s: float = Field(10.0, ge=0, le=600, description="longest wait for cancels at the end")

    @model_validator(mode="after")
    def _ordered(self) -> "Trading":
        if self.drawdown_halt_pct < self.drawdown_reduce_pct:
            raise ValueError(
                f"drawdown_halt_pct = {self.drawdown_halt_pct} must not be below"
                f" drawdown_reduce_pct = {self.drawdown_reduce_pct}"
            )
        if self.clock_stop_ms < self.clock_warn_ms:
            raise ValueError(
                f"clock_stop_ms = {self.clock_stop_ms} must not be below"
                f" clock_warn_ms = {self.clock_warn_ms}"
            )
        return self


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
    threads: int | None = Field(
        None, ge=1, le=1024, description="threads of the engine; unset, one for each processor"
    )
    symbol_key: Literal["symbol", "venue_symbol"] = Field(
        "symbol", description="venue_symbol keeps one symbol on two venues apart"
    )
    atr_bar_interval: Literal["1m", "5m", "15m", "1h"] = Field(
        "15m", description="length of the bars that volatility regimes are judged by"
    )
    intraday_telemetry_threshold: float = Field(
        0.003,
        gt=0,
        lt=1,
        validation_alias="INTRADAY_TELEMETRY_THRESHOLD",
        description="market move, as a fraction, from which an intraday trade has a direction",
    )
    swing_telemetry_threshold: float = Field(
        0.005,
        gt=0,
        lt=1,
        validation_alias="SWING_TELEMETRY_THRESHOLD",
        description="market move, as a fraction, from which a swing trade has a direction",
    )
    live_telemetry_sample_rate: float = Field(
        0.1,
        ge=0,
        le=1,
        validation_alias="LIVE_TELEMETRY_SAMPLE_RATE",
        description="share of closed trades that live trading writes a trace of",
    )
    live_telemetry_throttle_seconds: float = Field(
        60,
        ge=10,
        le=3600,
        validation_alias="LIVE_TELEMETRY_THROTTLE_SECONDS",
        description="shortest time between two traces of live trading",
    )
    alert_urls: tuple[SecretStr, ...] = Field(
        (), description="addresses that alerts are sent to, as Apprise writes them"
    )
    alert_min_severity: Literal["warning", "critical"] = Field(
        "warning", description="what is sent at least"
    )
    alert_timeout_s: float = Field(
        10.0, gt=0, le=60, description="longest wait for one address, or for heartbeat_url"
    )
    heartbeat_url: SecretStr | None = Field(
        None, description="called after each refresh that leaves readers up to date"
    )
    dashboard_refresh_interval: float = Field(
        30,
        ge=5,
        le=300,
        validation_alias="DASHBOARD_REFRESH_INTERVAL",
        description="seconds between two looks of a dashboard page for a newer snapshot",
    )
    dashboard_alert_precision_threshold: float = Field(
        0.55,
        ge=0,
        le=1,
        validation_alias="DASHBOARD_ALERT_PRECISION_THRESHOLD",
        description="precision of a direction below which an alert opens",
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
    apply: str | None = Field(
        None,
        description="decisions of the snapshot that act: all, none, or some of size,offset,policy",
    )
    trading: Trading = Field(default_factory=Trading, description="[trading]: how an engine trades")
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

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        """Let a parameter that has a name of its own here have one value: the named one wins."""
        defaults = parameters.load({})
        for name in _ALSO_PARAMETERS:
            value = getattr(self, name)
            if name not in self.model_fields_set:
                object.__setattr__(self, name, self.params.get(name, value))
            elif value == defaults[name]:
                self.params.pop(name, None)
            else:
                self.params[name] = value
        return self

    @field_validator("apply")
    @classmethod
    def _decisions(cls, value: str | None) -> str | None:
        if value is None or value.strip() in ("all", "none"):
            return value and value.strip()
        names = [name.strip() for name in value.split(",")]
        if not set(names) <= set(DECISIONS) or len(set(names)) != len(names):
            raise ValueError(f"allowed are all, none, or some of {','.join(DECISIONS)}")
        return ",".join(name for name in DECISIONS if name in names)

    @field_validator("heartbeat_url")
    @classmethod
    def _http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("heartbeat_url must begin with http:// or https://")
        return value

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
        """Return every folder that the intake looks into.

        ``logs`` and ``analytics`` below home, where our own engine and backtester write, count from
        when they are there.
        """
        own = [path for path in (self.home / "logs", self.home / "analytics") if path.is_dir()]
        named = [folder.path for folder in self.logs]
        return self.logs + tuple(
            LogFolder(
                path=path,
                account=self.account,
                environment=self.environment,
                venue=self.venue,
                naive_zone=self.naive_zone,
            )
            for path in dict.fromkeys([self.log_dir, *own])
            if path is not None and not any(path.is_relative_to(other) for other in named)
        )

    def applied(self, environment: Environment) -> frozenset[str]:
        """Return the decisions that act in an environment; the others are only logged.

        Without ``apply`` all act where no money is at stake, none on a real venue.
        """
        chosen = self.apply or ("all" if environment in ("paper", "backtest") else "none")
        if chosen in ("all", "none"):
            return frozenset(DECISIONS) if chosen == "all" else frozenset()
        return frozenset(chosen.split(","))

    @property
    def controls_root(self) -> Path:
        return self.home / "control"

    @property
    def lake_root(self) -> Path:
        return (self.home / "lake").resolve()  # people link it to a larger disk

    @property
    def snapshots_root(self) -> Path:
        return self.home / "snapshots"

    @property
    def spill_root(self) -> Path:
        return self.home / "cache" / "spill"


# Variables of ours that are no settings: where these stand, and what must stand nowhere else.
OTHER_VARIABLES = (
    "EXECINTEL_CONFIG",
    "EXECINTEL_VENUE_KEY",
    "EXECINTEL_VENUE_SECRET",
    "EXECINTEL_TRACES",  # of the notebook
)


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"EXECINTEL_{name.upper()}"


def in_environment(name: str) -> str | None:
    """Return what the environment variable of a setting holds, in whatever case it is named."""
    values = {key.upper(): value for key, value in os.environ.items()}
    return values.get(variable(name))


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


class SettingsOfSwitches(Settings):
    """The settings without parameters: a wrong one keeps nobody from a kill."""

    @field_validator("params")
    @classmethod
    def _valid(cls, value: dict[str, Any]) -> dict[str, parameters.Value]:
        return {}
