"""Conventions as tests: what a reader may rely on in every file, checked in every file."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("dashboard", "features", "live", "pipelines")
TABLES = sorted((REPOSITORY / "features" / "sql").glob("*.sql"))
CHECKS = sorted((REPOSITORY / "features" / "checks").glob("*.sql"))


def table_name(path: Path) -> str:
    return path.stem


def leading_comment(text: str) -> list[str]:
    """Return the comment lines that open a SQL file, without their dashes."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return lines


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", re.sub(r"/\*.*?\*/", "", sql, flags=re.DOTALL))


def mentions(text: str, name: str) -> bool:
    is_there = name in text  # a quick look first
    return is_there and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


@cache
def texts_of_tests() -> dict[str, str]:
    """Return the text of every file of tests but this one."""
    paths = (REPOSITORY / "tests").rglob("test_*.py")
    own = Path(__file__)
    return {str(path): path.read_text("utf-8") for path in paths if path != own}


def tracked_files() -> list[Path]:
    """List the files that git tracks, and those about to be: present and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    paths = (REPOSITORY / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file()]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


# ---------------------------------------------------------------------------------------- SQL files


def test_there_are_tables_and_checks() -> None:
    assert TABLES, "features/sql holds no table: the tests below would pass by having nothing to do"
    assert CHECKS, "features/checks holds no check"


@pytest.mark.parametrize("path", TABLES, ids=table_name)
def test_table_is_named_by_layer_subject_and_content(path: Path) -> None:
    assert re.fullmatch(r"(core|feat)_[a-z0-9]+__[a-z0-9_]+", path.stem)


@pytest.mark.parametrize("path", TABLES, ids=table_name)
def test_table_opens_with_the_house_header(path: Path) -> None:
    header = leading_comment(path.read_text("utf-8"))
    labels = {line.partition(":")[0] for line in header if ":" in line}
    assert header, f"{path.name} must open with comment lines: what, Grain, Units, Source, Params"
    assert header[0], f"{path.name}: the first line says what the table is"
    missing = {"Grain", "Units", "Source"} - labels
    assert not missing, f"{path.name}: the header lacks {sorted(missing)}"
    assert labels & {"Params", "Rebuild", "Params/Rebuild"}, (
        f"{path.name}: the header lacks Params or Rebuild"
    )


@pytest.mark.parametrize("path", TABLES, ids=table_name)
def test_table_is_one_select_without_a_clock(path: Path) -> None:
    sql = re.sub(r"'[^']*'", "''", without_comments(path.read_text("utf-8")))
    sql = sql.strip().removesuffix(";")
    assert ";" not in sql, f"{path.name} holds more than one statement"
    assert re.match(r"(WITH|SELECT)\b", sql), f"{path.name} does not begin with WITH or SELECT"
    clock = re.search(
        r"\b(now\s*\(|current_(timestamp|date|time)\b|today\s*\()", sql, re.IGNORECASE
    )
    assert clock is None, (
        f"{path.name} reads a clock ({clock and clock[0]}): bind $as_of_ms instead"
    )


@pytest.mark.parametrize("path", TABLES, ids=table_name)
def test_table_has_a_check_that_names_it(path: Path) -> None:
    naming = [check.name for check in CHECKS if mentions(check.read_text("utf-8"), path.stem)]
    assert naming, f"no file in features/checks reads {path.stem}: add one that returns bad rows"


@pytest.mark.parametrize("path", TABLES, ids=table_name)
def test_table_has_a_test_that_names_it(path: Path) -> None:
    naming = [name for name, text in texts_of_tests().items() if mentions(text, path.stem)]
    assert naming, f"no test names {path.stem}: add one that runs it on a few literal rows"


@pytest.mark.parametrize("path", CHECKS, ids=table_name)
def test_check_says_its_severity_and_the_likely_cause(path: Path) -> None:
    first = path.read_text("utf-8").partition("\n")[0]
    assert re.match(r"-- (fail|warn|hold): \S.{9,}", first), (
        f"{path.name} must open with `-- fail: cause`, `-- warn: cause` or `-- hold: cause`; "
        f"it opens with {first!r}"
    )


# ----------------------------------------------------------------------------------------- commands


def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of a typer tree with the words that call it."""
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*words, name))


def test_every_command_and_parameter_has_help() -> None:
    from pipelines.cli import app

    commands = list(walk(typer.main.get_command(app), ("execintel",)))
    silent = [" ".join(words) for words, command in commands if not (command.help or "").strip()]
    for words, command in commands:
        for parameter in command.params:
            standard = parameter.name in {"help", "install_completion", "show_completion"}
            if not standard and not (getattr(parameter, "help", None) or "").strip():
                silent.append(f"{' '.join(words)}: {parameter.name}")
    assert len(commands) > 10, f"the command tree was not walked: {[c[0] for c in commands]}"
    assert silent == [], "these lack help text"


# -------------------------------------------------------------------------------------------- files


# Folders where people or their machines work; a page's address or a variable in front is none.
MACHINE_PATH = re.compile(
    r"(?<![\w.{}$<)-])/(?:(?:work|root|home|Users|opt|tmp)/[\w.]|var/folders/)|\b[A-Z]:\\Users\\"
)


@pytest.mark.parametrize(
    ("text", "is_machine_path"),
    [
        ("data = '/" + "home/ann/logs'", True),
        ("cd /" + "work/main", True),
        ("see /" + "tmp/x.log", True),
        ("../shared/data/router_logs", False),  # relative -> allowed
        ("https://example.org/home/page", False),  # a page's address -> allowed
        ("GET /emulator/v1", False),
    ],
)
def test_machine_path_is_recognised(text: str, is_machine_path: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is is_machine_path


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    files = tracked_files()
    assert REPOSITORY / "pyproject.toml" in files
    found: list[str] = []
    for path in files:
        text = path.read_bytes().decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_log_snapshot_or_lake_file_is_tracked() -> None:
    files = tracked_files()
    suffixes = {".parquet", ".duckdb", ".jsonl", ".gz", ".csv"}
    data = [str(path.relative_to(REPOSITORY)) for path in files if path.suffix in suffixes]
    large = [str(path.relative_to(REPOSITORY)) for path in files if path.stat().st_size > 1_000_000]
    assert data == [], "the project ships no data: a test writes what it needs"
    assert large == []


# ---------------------------------------------------------------------------------------- packaging


def test_lock_pins_every_package_by_hash_and_names_no_index() -> None:
    text = (REPOSITORY / "requirements.lock").read_text("utf-8")
    assert re.search(r"https?:|file:|ssh:|--(extra-)?index-url|--find-links|-f |@ ", text) is None
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==\S+", entry), f"not pinned: {entry[:60]}"
        assert "--hash=sha256:" in entry, f"no hash: {entry[:60]}"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_lock_holds_every_declared_dependency() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    locked = {canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)", lock, re.MULTILINE)}
    project = pyproject()["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in declared}
    assert names <= locked, f"run make lock: {sorted(names - locked)} are declared, not locked"


def test_dagster_packages_stand_at_one_version() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    versions = set(
        re.findall(r"^dagster(?:-webserver|-graphql|-pipes)?==(\S+)", lock, re.MULTILINE)
    )
    assert len(versions) == 1


# ------------------------------------------------------------------------------------------ imports


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `folder`/pyproject.toml over the packages below `folder`."""
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); "
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )


def present_packages() -> list[str]:
    return [name for name in PACKAGES if (REPOSITORY / name / "__init__.py").is_file()]


def test_imports_point_one_way() -> None:
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_stands_under_a_contract() -> None:
    settings = pyproject()["tool"]["importlinter"]
    present = present_packages()
    assert sorted(settings["root_packages"]) == present
    for name in present:
        assert any(
            source.partition(".")[0] == name
            for contract in settings["contracts"]
            for source in contract["source_modules"]
        ), f"no import contract says what {name} may not know"


def write_module(folder: Path, name: str, text: str) -> None:
    """Write a module, as a package where it is one here, and the packages above it."""
    path = folder / name.replace(".", "/")
    is_package = (REPOSITORY / name.replace(".", "/")).is_dir()
    path = path / "__init__.py" if is_package else path.with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    for above in path.parent.relative_to(folder).parents:
        if above != Path():
            (folder / above / "__init__.py").touch()
    (path.parent / "__init__.py").touch()


def write_modules_of_contracts(folder: Path) -> None:
    """Write every module that a contract names, empty."""
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name in present_packages():
        write_module(folder, name, "")
    for contract in pyproject()["tool"]["importlinter"]["contracts"]:
        for module in [*contract["source_modules"], *contract["forbidden_modules"]]:
            if module.partition(".")[0] in present_packages():
                write_module(folder, module, "")


AGAINST_THE_ARROWS = [
    ("features", "dagster"),
    ("features", "streamlit"),
    ("features", "google.cloud.firestore"),
    ("features", "pipelines"),
    ("features", "live"),
    ("features", "dashboard"),
    ("pipelines", "dashboard"),
    ("pipelines", "streamlit"),
    ("live", "pipelines"),
    ("live", "dashboard"),
    ("live", "dagster"),
    ("live", "streamlit"),
    ("dashboard", "pipelines"),
    ("dashboard", "dagster"),
    ("dashboard", "live.trading.executor"),
    ("dashboard.panels", "duckdb"),
    ("live.reader", "features"),
    ("live.reader", "duckdb"),
    ("live.snapshot.records", "pyarrow"),
    ("live.intel", "google.cloud.firestore"),
    ("live.v510.answers", "live.firestore_mirror"),
]


def planted(importer: str) -> str:
    """Return the module that imports for an importer: itself, or one of its package."""
    return importer if "." in importer else f"{importer}.planted"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the contracts say of modules with all of these imports, and of none else."""
    folder = tmp_path_factory.mktemp("modules")
    write_modules_of_contracts(folder)
    assert lint_imports(folder).returncode == 0
    for module in {planted(importer) for importer, _ in AGAINST_THE_ARROWS}:
        imports = [name for importer, name in AGAINST_THE_ARROWS if planted(importer) == module]
        write_module(folder, module, "".join(f"import {name}\n" for name in imports))
    result = lint_imports(folder)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(("importer", "imported"), AGAINST_THE_ARROWS)
def test_import_against_the_arrows_is_caught(told: str, importer: str, imported: str) -> None:
    package = imported.partition(".")[0]
    name = imported if package in PACKAGES else package  # of others the package is known alone
    assert "BROKEN" in told
    assert f"-   {planted(importer)} -> {name} (l." in told
