"""Files that are whole or not there: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write(text: str | Iterable[str], path: str | os.PathLike[str]) -> None:
    """Writes the file atomically; parents are created, an earlier file is replaced and its mode kept.

    Args:
        text: at once, or in pieces.

    Raises:
        OSError: it could not be written; an earlier file is untouched.
    """
    from orchestrator.journal.files import sync_folder  # here, since `check` is to start fast

    pieces = (text,) if isinstance(text, str) else text
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_file():  # a device or a pipe (`/dev/stdout`) cannot be replaced by a rename
        with place.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        return
    place = place.resolve()  # a link stays a link: what it points at is replaced
    beside = place.with_name(f".{place.name[:100]}.{os.urandom(6).hex()}")
    try:
        _synced(pieces, beside, place)
        os.replace(beside, place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(place.parent)


def _synced(pieces: Iterable[str], beside: Path, place: Path) -> None:
    with open(beside, "x", encoding="utf-8", newline="") as file:
        if place.exists():
            os.chmod(beside, place.stat().st_mode & 0o777)
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
