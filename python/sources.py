"""Reads a checkpoint of any supported kind and gives the PyTorch module that it holds.

`load` is the only entry. It looks at the content of the source, never at its name alone, and
returns a module in evaluation mode with float32 parameters that need no gradient. Whatever is
wrong with the source ends in a `Refusal` of kind "input" which names the file and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from dialog import Dialog

Kind = Literal["transformers", "timm", "torchscript", "exported-program"]


@dataclass
class LoadedModel:
    """A module that is ready to be exported, and what is known about it."""

    module: torch.nn.Module
    """In evaluation mode, float32, no parameter needs a gradient. For "torchscript" a
    `torch.jit.ScriptModule`, for "exported-program" the program's own module."""
    kind: Kind
    config: PretrainedConfig | None
    """The transformers configuration; None for every other kind."""
    model_type: str | None
    """`config.model_type` of transformers, the architecture's name of timm, None for others."""
    architecture: str
    """Name of the module's class; for timm the architecture with which `create_model` made it."""
    task: str
    """The resolved task, never "auto"; see `tasks.TASKS`."""
    source: str
    """One phrase that describes the source, for messages and reports."""
    exported_program: Any = None
    """The `torch.export.ExportedProgram`, where `kind` is "exported-program"."""
    timm_config: dict[str, Any] | None = None
    """`module.pretrained_cfg` of timm as a dict (`input_size`, `num_classes`, ...)."""
    warnings: list[str] = field(default_factory=list)


def load(request: dict[str, Any], dialog: Dialog, attention: str = "eager") -> LoadedModel:
    """Loads what `request["source"]` names (see `export.py` for the request's fields).

    `attention` is the `attn_implementation` with which transformers builds the module.

    Raises `Refusal` where the source can't be used.
    """
    raise NotImplementedError
