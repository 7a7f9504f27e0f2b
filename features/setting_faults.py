"""Settings that are bad, in words: each name, its value, what is allowed and where it is set.

Put here: the one way to construct Settings for a person. Keep out: the settings (settings.py).
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from features.settings import Settings, config_path, in_environment, variable

# How a setting of several values is written into a variable: JSON.
EXAMPLES = {
    "logs": '[{"path": "/var/log/executor"}]',
    "alert_urls": '["mailtos://example.org", "json://127.0.0.1:9000"]',
    "freshness": '{"raw_router__events": {"required": true}}',
    "params": '{"winsor_bps": 80}',
    "secret_patterns": r'["(key=)\\w+"]',
    "trading": '{"max_leverage": 2.0}',
}
# What the kinds of fault are called where the library's own words are those of a programmer.
_SAID = {
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_parsing": "is no number",
    "finite_number": "is no finite number",
    "bool_parsing": "is neither true nor false",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
}
_HIDDEN = ("alert_urls", "heartbeat_url")  # passwords stand in them


class BadSettingError(ValueError):
    """A setting cannot be used; the text says which, why, and where to mend it."""


def load(kind: type[Settings] = Settings, **overrides: Any) -> Settings:
    """Construct the settings of this process.

    Raises BadSettingError naming each bad value, its allowed range and where it may be set.
    """
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise BadSettingError("; ".join(_faults(error))) from error
    except FileNotFoundError as error:
        raise BadSettingError(f"{error}; mend or unset the variable") from error
    except SettingsError as error:
        raise BadSettingError(_unread(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettingError(f"{config_path()} is not TOML: {error}") from error


def _unread(error: SettingsError) -> str:
    """Say which variable is no JSON, and how it is written."""
    found = re.search(r'for field "(\w+)"', str(error))
    if found is None or found[1] not in EXAMPLES:
        return f"{error}; mend or unset the variable"
    name = found[1]
    return (
        f"{variable(name)} = {_shown(name, in_environment(name))}: is not JSON "
        f"({error.__cause__}); write it as "
        f"{variable(name)}='{EXAMPLES[name]}', or set {name} in execintel.toml"
    )


def _shown(name: str, value: object) -> str:
    return "(hidden)" if name in _HIDDEN else repr(str(value) if isinstance(value, Path) else value)


def _faults(error: ValidationError) -> Iterator[str]:
    aliases = {item.validation_alias: name for name, item in Settings.model_fields.items()}
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"]) or "settings"
        top = str(fault["loc"][0]) if fault["loc"] else ""
        top = aliases.get(top, top)
        if top not in Settings.model_fields:
            known = ", ".join(sorted(Settings.model_fields))
            yield f"{name} is no setting; there are {known}"
            continue
        what = _plainly(fault["type"], fault["msg"])
        allowed = _allowed_range(top, *fault["loc"][1:])
        if len(fault["loc"]) == 1 and top in EXAMPLES and fault["type"].endswith("_type"):
            allowed += f", in a variable as {EXAMPLES[top]}"
        yield (
            f"{name} = {_shown(top, fault['input'])}: {what}{allowed}. "
            f"Set it by {variable(top)} or in execintel.toml"
        )


def _plainly(kind: str, message: str) -> str:
    """Say what is wrong with a value; the bounds of a number are said beside it."""
    if kind in _SAID:
        return _SAID[kind]
    words = message.removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


def _allowed_range(name: str, *below: int | str) -> str:
    """Write the bounds of a numeric setting or of one in its table, or nothing without any."""
    field = Settings.model_fields[name]
    for part in below:
        fields = getattr(field.annotation, "model_fields", {})
        if part not in fields:
            return ""
        field = fields[part]
    bounds = {
        kind: getattr(item, kind)
        for item in field.metadata
        for kind in ("ge", "gt", "le", "lt")
        if getattr(item, kind, None) is not None
    }
    low = bounds.get("ge", bounds.get("gt"))
    high = bounds.get("le", bounds.get("lt"))
    if low is None and high is None:
        return ""
    if low is not None and high is not None:
        return f" (allowed: {low} to {high})"
    if low is not None:
        return f" (allowed: {'from' if 'ge' in bounds else 'above'} {low})"
    return f" (allowed: up to {high})"
