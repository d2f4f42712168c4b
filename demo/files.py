"""The real input: which files there are, and what the system's own tools say of them.

Paths are bytes throughout, as the kernel has them: a name may hold newlines and need not be text.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from problem import Deadline, Problem

CHUNK = 1 << 20
# Paths per call of a program: far below the kernel's limit on arguments, even for the longest.
PATHS_PER_CALL = 250
# Marks a folder whose content can be made again (https://bford.info/cachedir/), like `target`.
CACHE_TAG = "CACHEDIR.TAG"


@dataclass(frozen=True)
class Facts:
    """What a file's content comes to."""

    sha256: str
    size: int
    lines: int


@dataclass(frozen=True)
class Found:
    paths: list[bytes]
    tracked: bool  # by git; otherwise they were found by walking the folder
    unreadable: int


def find(folder: Path) -> Found:
    """The git-tracked files of a folder if it has any, else all files in and below it."""
    if not folder.is_dir():
        raise Problem(f"{folder} is not a folder", exit_code=2)
    root = os.fsencode(folder.resolve())
    candidates = tracked(root)
    regular = [path for path in candidates or walk(root) if is_regular(path)]
    readable = sorted(path for path in regular if os.access(path, os.R_OK))
    return Found(readable, bool(candidates), len(regular) - len(readable))


def tracked(root: bytes) -> list[bytes]:
    try:
        command = [b"git", b"-C", root, b"ls-files", b"-z"]
        answer = subprocess.run(command, check=False, capture_output=True, timeout=60)
    except FileNotFoundError:
        return []
    if answer.returncode != 0:
        return []
    return [os.path.join(root, name) for name in answer.stdout.split(b"\0") if name]


def walk(root: bytes) -> Iterator[bytes]:
    for folder, folders, names in os.walk(root):
        if os.fsencode(CACHE_TAG) in names and folder != root:
            folders.clear()
            continue
        if b".git" in folders:
            folders.remove(b".git")
        yield from (os.path.join(folder, name) for name in names)


def is_regular(path: bytes) -> bool:
    """Whether it is a file itself: a link's target may be anywhere, or counted already."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def display(path: bytes, root: Path) -> str:
    """A path as one line of text, relative to `root`."""
    text = os.path.relpath(path, os.fsencode(root.resolve())).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def facts(paths: list[bytes], deadline: Deadline) -> dict[bytes, Facts | None]:
    """The digests from the `sha256sum` program; size and lines counted here. None: unreadable."""
    found: dict[bytes, Facts | None] = {}
    for start in range(0, len(paths), PATHS_PER_CALL):
        chunk = paths[start : start + PATHS_PER_CALL]
        digests = sha256sum(chunk, deadline)
        for path in chunk:
            try:
                found[path] = Facts(digests[path], *measure(path))
            except (KeyError, OSError):
                found[path] = None
    return found


def sha256sum(paths: list[bytes], deadline: Deadline) -> dict[bytes, str]:
    """`--zero` ends records with NUL and leaves names as they are."""
    command = [b"sha256sum", b"--zero", b"--", *paths]
    try:
        # What it cannot read it names on stderr and leaves out; the caller sees what is missing.
        answer = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, timeout=deadline.left("sha256sum")
        )
    except subprocess.TimeoutExpired:
        raise Problem("sha256sum did not end in time") from None
    except FileNotFoundError:
        raise Problem("the program sha256sum (coreutils) is not installed") from None
    records = (record.split(b"  ", 1) for record in answer.stdout.split(b"\0") if record)
    return {path: digest.decode() for digest, path in records}


def measure(path: bytes) -> tuple[int, int]:
    size = lines = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            lines += chunk.count(b"\n")
    return size, lines
