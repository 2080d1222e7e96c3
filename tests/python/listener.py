"""A dialog whose other side is a test; `child` must be importable."""

from __future__ import annotations

from child.dialog import Dialog


class Listener(Dialog):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Not shown."""

    def warn(self, message: str) -> None:
        """Kept."""
        self.warnings.append(message)
