"""Repairs around PyTorch's exporter, for the time of one export.

PyTorch's exporter can't trace some idioms of transformers' models and lowers some operators to
what ONNX Runtime refuses. transformers knows: it carries reversible patches and custom
translations for its own export to ONNX. `repaired` installs those of them that concern code which
is loaded already; each stands for an equal computation.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Repairs:
    """What holds within `repaired`."""

    fix_program: Callable[[torch.export.ExportedProgram], None] = lambda program: None
    """Rewrites nodes of a traced program that have no translation."""
    translations: dict[Callable[..., Any], Callable[..., Any]] | None = None
    """For `custom_translation_table`."""
    fix_graph: Callable[[Any], None] = lambda program: None
    """Rewrites a translated ONNX program in place."""
    missing: list[str] = field(default_factory=list)


@contextlib.contextmanager
def repaired() -> Iterator[Repairs]:
    """Installs the repairs. Without transformers, or with one that has none, there are none."""
    try:
        from transformers.exporters import exporter_onnx, utils
        from transformers.exporters.exporter_onnx import (
            _ONNX_TRANSLATION_TABLE,
            apply_onnx_ir_fixes,
        )
        from transformers.exporters.utils import _PATCHES, apply_fx_node_fixes
    except ImportError:
        yield Repairs()
        return
    del exporter_onnx, utils
    with contextlib.ExitStack() as stack:
        for kind in ("dynamo", "onnx"):
            for path, attribute, factory in _PATCHES.get(kind, []):
                owner = _loaded(path)
                original = getattr(owner, attribute, None)
                if owner is None or original is None:
                    continue
                stack.callback(setattr, owner, attribute, original)
                setattr(owner, attribute, factory(original))
        yield Repairs(
            fix_program=lambda program: apply_fx_node_fixes("onnx", program.graph_module),
            translations=_ONNX_TRANSLATION_TABLE,
            fix_graph=apply_onnx_ir_fixes,
        )


def _loaded(path: str) -> Any:
    """The object at a dotted path where its module is loaded, else None: nothing is imported."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:length]))
        if module is not None:
            target: Any = module
            for part in parts[length:]:
                target = target.__dict__.get(part) if hasattr(target, "__dict__") else None
                if target is None:
                    return None
            return target
    return None
