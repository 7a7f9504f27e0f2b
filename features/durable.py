"""Replace small files so that a reader, a kill or a power cut meets the old text or the new.

Put here: replacing, and waiting for the disk. Keep out: what stands in the files.
"""

import os
from pathlib import Path


def replace_file(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a small file at once: readers see the old text or the new, never a part.

    Without ``is_durable`` nothing waits for the disk: for what is made anew where it is lost.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    if is_durable:
        fsync(draft)
    draft.replace(path)
    if is_durable:
        fsync(path.parent)


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
