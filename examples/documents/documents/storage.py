"""A folder with the few calls of an object store that the example needs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import TextIO

UPLOADS = "uploads"
RESULTS = "results"


class Storage:
    """Objects by prefix and id. What is put is there as a whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put_stream(self, prefix: str, key: str, chunks: AsyncIterable[bytes]) -> None:
        """Keeps what comes in pieces."""
        part = self._part(prefix, key)
        with part.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
        part.replace(self._path(prefix, key))

    def put(self, prefix: str, key: str, text: str) -> None:
        """Keeps a text."""
        part = self._part(prefix, key)
        part.write_text(text)
        part.replace(self._path(prefix, key))

    def open(self, prefix: str, key: str) -> TextIO:
        """Opens a text to read it; FileNotFoundError if there is none."""
        return self._path(prefix, key).open(encoding="utf-8")

    def size(self, prefix: str, key: str) -> int:
        """How many bytes it has; FileNotFoundError if there is none."""
        return self._path(prefix, key).stat().st_size

    def older_than(self, prefix: str, seconds: float) -> Iterator[str]:
        """The ids of what was put longer ago than this."""
        before = time.time() - seconds
        for path in (self._folder / prefix).glob("*"):
            if path.suffix != ".part" and path.stat().st_mtime <= before:
                yield path.name

    def delete(self, prefix: str, key: str) -> None:
        """Removes it, if it is there."""
        self._path(prefix, key).unlink(missing_ok=True)

    def _path(self, prefix: str, key: str) -> Path:
        return self._folder / prefix / key

    def _part(self, prefix: str, key: str) -> Path:
        path = self._path(prefix, f"{key}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
