"""Parameters of the formulas: defaults from params.toml, overrides from the configuration.

Put here: loading, range checks and the hash of the parameters. Keep out: what uses them (sql/).
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("params.toml")


class ParameterError(ValueError):
    """An override names no parameter or lies outside its range."""


@cache
def definitions() -> dict[str, dict[str, object]]:
    """Return the parameter file: name → value, range, what."""
    return tomllib.loads(_FILE.read_text("utf-8"))


def load(overrides: Mapping[str, float]) -> dict[str, float]:
    """Return every parameter's value with ``overrides`` applied.

    Raises ParameterError with the name, the value and the allowed range.
    """
    known = definitions()
    values = {name: _number(entry["value"]) for name, entry in known.items()}
    for name, value in overrides.items():
        if name not in known:
            raise ParameterError(
                f"[params] {name}: no such parameter; there are {', '.join(sorted(known))}"
            )
        low, high = _range(known[name])
        if not low <= value <= high:
            raise ParameterError(f"[params] {name} = {value}: allowed are {low} to {high}")
        values[name] = _number(value)
    return values


def digest(values: Mapping[str, float]) -> str:
    """Return the SHA-256 of parameter values, equal for equal values."""
    return hashlib.sha256(json.dumps(dict(sorted(values.items()))).encode()).hexdigest()


def _range(entry: Mapping[str, object]) -> tuple[float, float]:
    match entry["range"]:
        case [low, high]:
            return _number(low), _number(high)
    raise ParameterError(f"{_FILE.name}: a range needs two numbers, not {entry['range']!r}")


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ParameterError(f"{_FILE.name}: {value!r} is no number")
    return float(value)  # 5 and 5.0 are one value: they must give one digest
