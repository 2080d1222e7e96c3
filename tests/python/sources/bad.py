"""Sources that must be refused: damaged, hostile, or not what the request says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_configurations
import bad_files
import bad_pickles
import bad_programs
from good import Case


def cases(folder: Path) -> Iterator[Case]:
    """A name and a request for each."""
    for module in (bad_files, bad_pickles, bad_configurations, bad_programs):
        inner = folder / module.__name__
        inner.mkdir()
        yield from module.cases(inner, folder / "executed")
