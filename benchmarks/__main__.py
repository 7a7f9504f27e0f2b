"""python -m benchmarks [NAME …] [options]: run every benchmark, or the named ones.

A benchmark is a module of this folder with main(argv) and a docstring that says what it measures.
"""

import importlib
import pkgutil
import sys
from types import ModuleType

import benchmarks


def found() -> dict[str, ModuleType]:
    """Return the modules of this folder that have main(argv), by name."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name != "__main__"]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, "main")}


def main(argv: list[str]) -> int:
    """Run benchmarks; returns the process's exit code."""
    modules = found()
    names = [word for word in argv if not word.startswith("-")]
    options = [word for word in argv if word.startswith("-")]
    if "--help" in options or "-h" in options:
        print(_help(modules))
        return 0
    unknown = [name for name in names if name not in modules]
    if unknown:
        print(f"no benchmark named {unknown[0]}; there are {', '.join(modules)}", file=sys.stderr)
        return 2
    for name in names or modules:
        print(f"== {name}: {_what(modules[name])}", flush=True)
        code = modules[name].main(options)
        if code:
            return int(code)
    return 0


def _what(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().partition("\n")[0]


def _help(modules: dict[str, ModuleType]) -> str:
    listed = "\n".join(f"  {name:<9} {_what(module)}" for name, module in modules.items())
    return (
        "python -m benchmarks [NAME …] [--quick]\n\n"
        f"{listed}\n\n"
        "Without a name all run. --quick takes sizes of seconds instead of minutes: it shows that\n"
        "everything works, its figures mean little. Options are passed on; what a benchmark takes\n"
        "besides, `python -m benchmarks.NAME --help` says. Figures depend on the machine and on\n"
        "what else it does: compare the ratios, which come from one run.\n"
        "docs/benchmarks.md holds the last measured figures and what they mean."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
