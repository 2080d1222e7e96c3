"""Opens TorchScript, which brings its own code.

That code can call PyTorch's operators and nothing else; the few among them that touch files are
looked for before the module is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.archives import check_zip_sizes
from child.dialog import is_memory_error
from checkpoint.file_formats import clip, refuse_file, zip_entries

if TYPE_CHECKING:
    import torch

_DAMAGED = "It is damaged or made by another version of PyTorch: save it again."
FILE_OPERATORS = frozenset({"from_file", "save"})
"""Names of PyTorch's operators that open files."""


def open_torchscript(path: Path) -> torch.jit.ScriptModule:
    """The module in a file of torch.jit.save. Raises `Refusal` where it can't be read."""
    check_zip_sizes(path, zip_entries(path), path.stat().st_size, compressed=True)
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        if is_memory_error(error):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise refuse_file(path, f"PyTorch can't read it ({clip(said)})", _DAMAGED) from error
    for kind in _operators(module):
        if kind.startswith("aten::") and kind.partition("::")[2] in FILE_OPERATORS:
            raise refuse_file(
                path,
                f'its code calls "{clip(kind)}", which opens files',
                "Give a model that only computes.",
            )
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _operators(module: torch.jit.ScriptModule) -> Iterator[str]:
    """The kinds of all nodes in all methods, of submodules too."""

    def walk(block: Any) -> Iterator[str]:
        for node in block.nodes():
            yield node.kind()
            for inner in node.blocks():
                yield from walk(inner)

    for submodule in module.modules():
        script = getattr(submodule, "_c", None)
        for name in script._method_names() if script is not None else ():
            graph = script._get_method(name).inlined_graph
            yield from walk(graph)
