"""What a torch.export program says about its inputs: their names, types, sizes and examples.

A program was traced with examples, which it keeps, and knows which of their sizes were left open.
So nothing needs to be guessed, and every open size stays open.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from checkpoint.sources import LoadedModel
from exporting.units import Dimension, ExportUnit, Fill, InputSpec
from exporting.wrappers import Flat, named_tensors

_OTHER_BATCHES = (1, 3)


class Program(Flat):
    """Calls a program with its tensors in order, nested as it wants them."""

    def __init__(
        self, model: torch.nn.Module, names: list[str], leaves: list[Any], structure: Any
    ) -> None:
        super().__init__(model, names)
        self.leaves = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self.places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.structure = structure

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """The program's own tensors under the names of their places."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, named.values(), strict=True):
            leaves[place] = tensor
        arguments, keywords = pytree.tree_unflatten(leaves, self.structure)
        return named_tensors(self.model(*arguments, **keywords), self.default)


def program_unit(loaded: LoadedModel, dynamic: bool, seed: int) -> ExportUnit | None:
    """The unit of a torch.export program; None where it keeps no examples."""
    program = loaded.exported_program
    if program is None or not program.example_inputs:
        return None
    leaves, structure = pytree.tree_flatten(program.example_inputs)
    names = list(program.graph_signature.user_inputs)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    if len(names) != len(leaves):
        return None
    axes = _Axes(program.range_constraints)
    specs: list[InputSpec] = []
    for name, leaf in zip(names, leaves, strict=True):
        if isinstance(leaf, torch.Tensor):
            symbolic = values.get(name)
            sizes = symbolic.shape if dynamic and symbolic is not None else leaf.shape
            shape = tuple(
                axes.dimension(name, leaf, axis, sizes[axis]) for axis in range(leaf.ndim)
            )
            specs.append(_spec(name, leaf, shape))
    module = Program(loaded.module, [spec.name for spec in specs], leaves, structure)
    with torch.no_grad():
        module(*(leaf for leaf in leaves if isinstance(leaf, torch.Tensor)))
    return ExportUnit(
        role="model",
        module=module,
        inputs=tuple(specs),
        output_names=module.output_names,
        sizes=axes.sizes,
        others=axes.others(),
        dynamic=frozenset(axes.sizes),
        seed=seed,
    )


class _Axes:
    """Names for the open sizes."""

    def __init__(self, ranges: Any) -> None:
        self.sizes: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._bounds: dict[str, tuple[int, int]] = {}
        self._ranges = {str(symbol): bound for symbol, bound in ranges.items()}

    def dimension(self, name: str, example: torch.Tensor, axis: int, size: object) -> Dimension:
        """The name of an open size; a number where it is fixed or follows from others."""
        number = int(example.shape[axis])
        symbol = str(size)
        if isinstance(size, int) or symbol not in self._ranges:
            return number
        if symbol not in self._names:
            label = self._label(name, example, axis)
            self._names[symbol] = label
            self.sizes[label] = number
            bound = self._ranges[symbol]
            self._bounds[label] = (_bounded(bound.lower, 0), _bounded(bound.upper, 2**31))
        return self._names[symbol]

    def _label(self, name: str, example: torch.Tensor, axis: int) -> str:
        if axis == 0:
            label = "batch_size"
        elif example.ndim == 4 and example.is_floating_point() and axis > 1:
            label = "height" if axis == 2 else "width"
        elif example.ndim == 2 and axis == 1:
            label = "sequence_length"
        else:
            label = f"{name}_{axis}"
        return label if label not in self.sizes else f"{name}_{axis}"

    def others(self) -> tuple[dict[str, int], ...]:
        """Further sizes within the bounds: another batch, other lengths."""
        found: list[dict[str, int]] = []
        for batch in _OTHER_BATCHES:
            sizes = {}
            for label, size in self.sizes.items():
                low, high = self._bounds[label]
                wanted = batch if label == "batch_size" else size + (1 if batch > 1 else -1)
                sizes[label] = min(max(wanted, low, 1), high)
            if sizes != self.sizes and sizes not in found:
                found.append(sizes)
        return tuple(found)


def _bounded(value: Any, default: int) -> int:
    """A bound as an integer; infinity gives `default`."""
    finite = isinstance(value, int) or getattr(value, "is_Integer", False)
    return int(value) if finite else default


def _spec(name: str, example: torch.Tensor, shape: tuple[Dimension, ...]) -> InputSpec:
    """How to draw values like the example's."""
    if example.is_floating_point():
        return InputSpec(name, shape, "floats", example.dtype)
    if example.dtype is torch.bool:
        return InputSpec(name, shape, "ones", example.dtype)
    fill: Fill = "mask" if "mask" in name and example.ndim > 1 else "integers"
    most = int(example.max()) if example.numel() else 1
    return InputSpec(name, shape, fill, example.dtype, limit=max(2, most + 1))
