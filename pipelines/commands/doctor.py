"""`execintel doctor`: what is configured, found, stale, broken or held, and what to do about each.

Put here: the order of looking, and the verdict. Keep out: looking (doctor_machine.py,
doctor_current.py); changing anything.
"""

import typer

from pipelines.commands import common, doctor_current, doctor_machine
from pipelines.commands.findings import Findings


def doctor() -> None:
    """Say what is configured, found, stale, broken or held, and what to do about each.

    Example: execintel doctor || mail -s "execintel needs you" desk@example.org

    Exit code 0 when nothing needs a person, else 1. Nothing is changed.
    """
    settings = common.load_settings()
    found = Findings()
    doctor_machine.configured(settings)
    doctor_machine.misspelt(settings, found)
    doctor_machine.files(settings, found)
    doctor_machine.lake(settings, found)
    store = common.open_store(settings)
    doctor_current.snapshot(settings, store, found)
    doctor_current.alerts(settings, store, found)
    doctor_current.switches(settings, found)
    doctor_current.last_failed(store, found)
    doctor_machine.history(settings, store, found)
    doctor_machine.mirror()
    doctor_machine.disk(settings, found)
    _verdict(found)
    if found.broken:
        raise typer.Exit(1)


def _verdict(found: Findings) -> None:
    for note in found.notes:
        common.say(f"note: {note}")
    if not found.broken:
        common.say("healthy: nothing needs a person", style="bold green")
        return
    common.say(f"{len(found.broken)} to mend:", style="bold red")
    for fault in found.broken:
        common.say(f"- {fault}")
