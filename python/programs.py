"""Opens TorchScript and torch.export programs, which bring their own code.

That code can only call operators of PyTorch, and is read by PyTorch's own readers; what those
would do beyond that (unpickle objects, evaluate texts, look names up) is checked before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dialog import is_memory_error
from file_formats import clip, refuse_file, zip_entries
from pickles import check_zip_sizes

if TYPE_CHECKING:
    import torch

_DAMAGED = "It is damaged or made by another version of PyTorch: save it again."


def open_torchscript(path: Path) -> torch.jit.ScriptModule:
    """The module in a file of torch.jit.save. Raises `Refusal` where it can't be read."""
    check_zip_sizes(path, zip_entries(path), compressed=True)
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError, UnicodeDecodeError) as error:
        if is_memory_error(error):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise refuse_file(path, f"PyTorch can't read it ({clip(said)})", _DAMAGED) from error
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module
