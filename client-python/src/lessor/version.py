"""The version of this package."""

from __future__ import annotations

from importlib import metadata

VERSION = metadata.version("lessor")
#: What the broker and its operators see of this library.
SDK = f"python/{VERSION}"
USER_AGENT = f"lessor-python/{VERSION}"
