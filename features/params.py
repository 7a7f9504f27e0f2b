"""Parameters of the formulas: defaults from params.toml, overrides from the configuration.

Put here: loading, range checks and the hash of the parameters. Keep out: what uses them (sql/).
A parameter is a number, one of some words, or knots: points (x, y) that a straight line joins.
"""

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

Knots = tuple[tuple[float, float], ...]
Value = float | str | Knots
Entry = Mapping[str, Any]

_FILE = Path(__file__).with_name("params.toml")
_TURNED = {"rising": 1, "falling": -1, "free": 0}  # knots: y times this never falls as x grows


class ParameterError(ValueError):
    """An override names no parameter or lies outside its range."""


@cache
def definitions() -> dict[str, Entry]:
    """Return the parameter file: name → value, what it may be, what it means."""
    return tomllib.loads(_FILE.read_text("utf-8"))


def load(overrides: Mapping[str, Any]) -> dict[str, Value]:
    """Return every parameter's value with ``overrides`` applied.

    Raises ParameterError with the name, the value and what is allowed.
    """
    known = definitions()
    for name in overrides:
        if name not in known:
            raise ParameterError(
                f"[params] {name}: no such parameter; there are {', '.join(sorted(known))}"
            )
    values = {
        name: _valid(name, entry, overrides.get(name, entry["value"]))
        for name, entry in known.items()
    }
    for name, entry in known.items():
        _require_order(values, name, entry.get("at_least"))
    return values


def knots(values: Mapping[str, Value]) -> list[tuple[str, float, float]]:
    """List the knots among parameter values as (name, x, y)."""
    return [
        (name, x, y)
        for name, points in values.items()
        if isinstance(points, tuple)
        for x, y in points
    ]


def digest(values: Mapping[str, Value]) -> str:
    """Return the SHA-256 of parameter values, equal for equal values."""
    return hashlib.sha256(json.dumps(dict(sorted(values.items()))).encode()).hexdigest()


def allowed(name: str) -> str:
    """Say in words what a parameter may be."""
    entry = definitions()[name]
    if "choices" in entry:
        return " or ".join(entry["choices"])
    low, high = entry["range"]
    if "shape" not in entry:
        whole = "whole numbers, " if isinstance(entry["value"], int) else ""
        least = f", at least {entry['at_least']}" if "at_least" in entry else ""
        return f"{whole}{low} to {high}{least}"
    order = "" if entry["shape"] == "free" else f" {entry['shape']}"
    return f"two or more points [x, y], x ascending, y{order} within {low} to {high}"


def _valid(name: str, entry: Entry, value: Any) -> Value:
    """Return a value as its parameter holds it, or raise ParameterError."""
    if "choices" in entry:
        if value in entry["choices"]:
            return str(value)
    elif "shape" in entry:
        points = _points(value)
        if points and _is_shaped(points, entry):
            return points
    else:
        low, high = entry["range"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = number = float(value)  # 5 and 5.0 are one value: they must give one digest
            if low <= number <= high and not (isinstance(entry["value"], int) and number % 1):
                return number
    raise ParameterError(f"[params] {name} = {value}: allowed are {allowed(name)}")


def _require_order(values: Mapping[str, Value], name: str, least: str | None) -> None:
    """Refuse a threshold that lies on the wrong side of another: one of them would never act."""
    if least is None:
        return
    value, bound = values[name], values[least]
    assert isinstance(value, float)
    assert isinstance(bound, float)
    if value < bound:
        raise ParameterError(
            f"[params] {name} = {value:g} lies below {least} = {bound:g}: it must be at least that;"
            " change both"
        )


def _points(value: object) -> Knots | None:
    """Return knots as pairs of finite numbers, or None for anything else."""
    if not isinstance(value, list | tuple):
        return None
    pairs = []
    for point in value:
        match point:
            case [x, y] if _is_number(x) and _is_number(y):
                pairs.append((float(x), float(y)))
            case _:
                return None
    return tuple(pairs)


def _is_shaped(points: Knots, entry: Entry) -> bool:
    low, high = entry["range"]
    steps = list(itertools.pairwise(points))
    return (
        len(points) >= 2
        and all(low <= y <= high for _, y in points)
        and all(a[0] < b[0] for a, b in steps)
        and all((b[1] - a[1]) * _TURNED[entry["shape"]] >= 0 for a, b in steps)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
