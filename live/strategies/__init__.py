"""Trading strategies, one a file: a class with a name and `on_bar`; the engine does the rest.

Put here: what decides a direction. Keep out: sizes, orders, files, clocks.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol

from live.market import Bar, Signal

BOTH = ("intraday", "swing")


class Strategy(Protocol):
    """Turns closed bars into signals; holds one state a symbol and reads no clock.

    One that ends trades by itself may also have ``resume(call: Signal) -> None``: a restart tells
    it, before the first bar, which calls of its own still hold a position.
    """

    name: str  # in every order and trace
    threshold: float  # the market's move, as a fraction, from which a direction counts as right

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar of a symbol, in time order; None wants no change."""
        ...


def resume_one(strategy: Strategy, call: Signal) -> None:
    """Tell a strategy of a call of before a restart, where it wants to know."""
    resume = getattr(strategy, "resume", None)
    if resume is not None:
        resume(call)


def available() -> tuple[str, ...]:
    """Return the names of the strategies in this folder."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in modules if _class_in(f"{__name__}.{name}", name)))


def make(wanted: str, thresholds: Mapping[str, float]) -> list[Strategy]:
    """Construct the strategies that a name stands for, with their thresholds where given.

    ``wanted`` is ``both`` (intraday and swing), a file of this folder, or a dotted module of yours;
    the module holds a class whose ``name`` is the last part. Raises ValueError for anything else.
    """
    made: list[Strategy] = []
    for name in BOTH if wanted == "both" else (wanted,):
        last = name.rpartition(".")[2]
        path = name if "." in name else f"{__name__}.{name}"
        try:
            found = _class_in(path, last)
        except ModuleNotFoundError as error:
            if error.name is None or not path.startswith(error.name):
                raise  # the file is there; what it imports is not
            found = None
        if found is None:
            raise ValueError(
                f"there is no strategy {wanted!r}; there are {', '.join(available())}, both, or "
                f"a module of yours, as my.{last}, with a class whose name is {last!r}"
            )
        given = {"threshold": thresholds[last]} if last in thresholds else {}
        made.append(found(**given))
    return made


def _class_in(path: str, name: str) -> Any:
    """Return the class of a module that is the strategy of that name, None where none is."""
    module = importlib.import_module(path)
    for value in vars(module).values():
        if isinstance(value, type) and getattr(value, "name", None) == name:
            return value if hasattr(value, "on_bar") else None
    return None
