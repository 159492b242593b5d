"""New files that appear complete or not at all: written aside, checked, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from regc.compiler.errors import RegcError, UsageError

CHUNK = 4 << 20
"""Bytes that are in memory at a time while files are copied."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_destination(path: Path, taken: Iterable[Path], what: str = "a file of the input model") -> None:
    """Raise UsageError for a place that cannot be written to, or that is one of the files ``taken``.

    A rename replaces whatever has the name, be it a link, a pipe or a device; so only regular files may have it.
    ``what`` says in the message what those files are.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist; create it first")
    for file in taken:
        if path.resolve() == file.resolve() or (path.exists() and file.exists() and path.samefile(file)):
            raise UsageError(f"{path}: is {what} ({file}); choose another name")
    if path.is_symlink():
        raise UsageError(f"{path}: is a link to {path.readlink()}; give that name, or remove the link first")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is no regular file, and would be replaced by one; choose another name")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: {path.parent} cannot be written to ({reason}); choose another folder") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=".regc-", dir=path.parent) as name:
        with durable(Path(name) / path.name) as file:
            file.write(text.encode())
        (Path(name) / path.name).replace(path)


@contextmanager
def staging(folder: Path, needed: int) -> Iterator[Path]:
    """A folder inside ``folder``, on the same file system, that is gone afterwards with everything in it.

    Turns errors of the file system into RegcError; ``needed`` is how many bytes are going to be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".regc-", dir=folder) as name:
            yield Path(name)
    except OSError as error:
        if error.errno in _FULL:
            free = shutil.disk_usage(folder).free
            remedy = f"{needed} bytes are needed and {free} are free; make room or choose another folder"
            raise RegcError(f"{folder}: no room to save the model: {remedy}") from error
        reason = error.strerror or str(error)
        raise RegcError(f"{folder}: the model cannot be saved there ({reason}); choose another folder") from error


@contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """A new file, on disk when the block ends."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def commit(moves: Sequence[tuple[Path, Path]]) -> None:
    """Rename staged files ``(from, to)``, in order; on any failure what was there before is back."""
    moved: list[tuple[Path, Path | None]] = []
    try:
        for source, target in moves:
            moved.append((target, _set_aside(target, source.with_name(source.name + ".old"))))
            source.replace(target)
        for folder in {target.parent for _, target in moves}:
            _sync_folder(folder)
    except BaseException:
        for target, old in reversed(moved):
            _put_back(target, old)
        raise


def copy(source: Path, target: Path) -> None:
    """Copy the contents of a file to a new one."""
    with source.open("rb") as old, durable(target) as new:
        shutil.copyfileobj(old, new, CHUNK)


def sha256(*files: Path, head: bytes = b"") -> str:
    """SHA-256 over ``head`` and the contents of files, one after the other, as hexadecimal digits."""
    digest = hashlib.sha256(head)
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _set_aside(target: Path, aside: Path) -> Path | None:
    """Keep a file under a second name as long as the staging folder lives; None when there is no file."""
    if not target.exists() and not target.is_symlink():
        return None
    try:
        os.link(target, aside, follow_symlinks=False)
    except OSError:  # a file system without hard links: for a moment there is no file of that name
        target.rename(aside)
    return aside


def _put_back(target: Path, old: Path | None) -> None:
    if old is not None:
        old.replace(target)
    else:
        target.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the renames last; only POSIX systems can open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
