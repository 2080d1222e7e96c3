"""Brings an exported graph to the one form that modelcast writes.

Dimensions, weights, inputs and outputs get their names, equal weights become one, what only tells
how the graph was made is removed, and the inputs that the graph does not use are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporting.units import ExportUnit

if TYPE_CHECKING:
    import onnx_ir as ir

_SHORT = 64
"""Bytes of two weights that are compared first."""


@dataclass(frozen=True)
class _Specialized:
    """An open dimension that an exporter fixed, or made one with another."""

    name: str
    input: str
    became: int | str

    def __str__(self) -> str:
        became = self.became if isinstance(self.became, int) else f'"{self.became}"'
        return f'"{self.name}" of "{self.input}" is {became}'


@dataclass(frozen=True)
class Polished:
    """What became of a unit in the graph."""

    unit: ExportUnit
    specialized: tuple[str, ...]
    """Dimensions that were to be open and are not, as `"name" of "input" is N`."""


def optimize(model: ir.Model) -> None:
    """Folds constants and fuses what has an operator of its own, as PyTorch's exporter would do.

    Unlike there, equal weights become one beforehand, and one that is used twice is not stored a
    second time as its transpose. Resizes stay: folding one takes minutes, running it milliseconds.
    """
    from onnxscript.optimizer import optimize_ir
    from onnxscript.rewriter import onnx_fusions

    def should_fold(node: ir.Node) -> bool | None:
        if node.op_type == "Resize":
            return False
        if node.op_type != "Transpose" or not node.inputs or node.inputs[0] is None:
            return None
        weight = node.inputs[0]
        return False if weight.is_initializer() and len(weight.uses()) > 1 else None

    _share_weights(model.graph)
    _name_transposes(model.graph)
    optimize_ir(model, should_fold=should_fold)
    onnx_fusions.fuse(model)


def polish(model: ir.Model, unit: ExportUnit) -> Polished:
    """Changes `model` in place; see the module."""
    graph = model.graph
    unused = [
        value.name
        for value in graph.inputs
        if value.name in unit.input_names and not value.uses() and not value.is_graph_output()
    ]
    for value in list(graph.inputs):
        if value.name in unused:
            graph.inputs.remove(value)
    unit = unit.without([name for name in unused if name])
    specialized = _name_dimensions(graph, unit)
    unit = unit.with_fixed({fixed.name: fixed.became for fixed in specialized})
    _name_weights(graph)
    _share_weights(graph)
    _forget_origin(model)
    return Polished(unit, tuple(str(fixed) for fixed in specialized))


def describe_values(values: Iterable[ir.Value]) -> tuple[dict[str, Any], ...]:
    """`name`, `dtype` and `shape` of graph inputs or outputs, for the answer."""
    return tuple(
        {
            "name": value.name,
            "dtype": value.dtype.name.lower() if value.dtype is not None else "unknown",
            "shape": [
                dimension if isinstance(dimension, int) else str(dimension.value)
                for dimension in (value.shape or ())
            ],
        }
        for value in values
    )


def _name_dimensions(graph: ir.Graph, unit: ExportUnit) -> list[_Specialized]:
    """Gives symbolic dimensions the unit's names; tells which of them became numbers."""
    import onnx_ir as ir

    renamed: dict[str, str] = {}
    sums: dict[str, str] = {}
    specialized: list[_Specialized] = []
    by_name = {value.name: value for value in graph.inputs}
    for spec in unit.inputs:
        if spec.name in unit.unused:
            continue
        shape = by_name[spec.name].shape
        for axis, name in unit.dynamic_shapes[spec.name].items():
            symbol = _symbol(shape[axis]) if shape is not None else None
            if isinstance(symbol, int):
                specialized.append(_Specialized(name, spec.name, symbol))
            elif symbol is not None:
                known = (sums if " + " in name else renamed).setdefault(symbol, name)
                if known != name:
                    specialized.append(_Specialized(name, spec.name, known))
    renamed = {**sums, **renamed}
    pattern = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")

    def rename(dimension: ir.SymbolicDim) -> ir.SymbolicDim | int:
        symbol = _symbol(dimension)
        if symbol is None:
            return dimension
        if isinstance(symbol, int):
            return symbol
        named = renamed.get(symbol)
        if named is None:
            named = pattern.sub(lambda match: renamed.get(match[0], match[0]), symbol)
        return ir.SymbolicDim(named)

    for value in _values(graph):
        if value.shape is not None and not value.shape.is_static():
            value.shape = ir.Shape(
                dimension if isinstance(dimension, int) else rename(dimension)
                for dimension in value.shape
            )
    return specialized


def _symbol(dimension: int | ir.SymbolicDim) -> int | str | None:
    """A dimension as a number or a text; None where nothing is known of it."""
    if isinstance(dimension, int):
        return dimension
    text = None if dimension.value is None else str(dimension.value)
    # The exporter writes the number that a symbol was found to be as a symbol.
    return int(text) if text is not None and text.isdigit() else text


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    """Every value of a graph and of the graphs within it, each once."""
    seen: set[int] = set()
    groups = [graph.inputs, graph.initializers.values()]
    groups += [node.outputs for node in graph.all_nodes()]
    for group in groups:
        for value in group:
            if id(value) not in seen:
                seen.add(id(value))
                yield value


def _name_transposes(graph: ir.Graph) -> None:
    """Names a weight's transpose after the weight: folded, it is a weight of the file."""
    taken = {value.name for value in _values(graph)}
    for node in graph:
        weight = node.inputs[0] if node.op_type == "Transpose" else None
        if weight is None or not weight.is_initializer() or node.outputs[0].is_graph_output():
            continue
        name = f"{weight.name}.transposed"
        if name not in taken:
            node.outputs[0].name = name
            taken.add(name)


def _name_weights(graph: ir.Graph) -> None:
    """Takes the wrapper's prefix from the names of weights: the checkpoint's names remain."""
    taken = {value.name for value in _values(graph)}
    for name in list(graph.initializers):
        plain = name.removeprefix("model.")
        if plain == name or plain in taken:
            continue
        value = graph.initializers.pop(name)
        value.name = plain
        if value.const_value is not None:
            value.const_value.name = plain
        graph.initializers[plain] = value
        taken.add(plain)


def _share_weights(graph: ir.Graph) -> None:
    """Makes one of the weights that are equal to the bit."""
    kept: dict[tuple[object, ...], list[ir.Value]] = {}
    for name in list(graph.initializers):
        value = graph.initializers[name]
        tensor = value.const_value
        if tensor is None or value.is_graph_output() or value.is_graph_input():
            continue
        array = tensor.numpy()
        head = array.reshape(-1)[:_SHORT].tobytes()
        key = (tensor.dtype, tuple(tensor.shape), head)
        twin = next((other for other in kept.get(key, []) if _equal(other, array)), None)
        if twin is None:
            kept.setdefault(key, []).append(value)
            continue
        for node, index in list(value.uses()):
            node.replace_input_with(index, twin)
        del graph.initializers[name]


def _equal(value: ir.Value, array: np.ndarray) -> bool:
    other = value.const_value.numpy() if value.const_value is not None else None
    if other is None:
        return False
    same = other.__array_interface__["data"][0] == array.__array_interface__["data"][0]
    if same and other.strides == array.strides:
        return True
    return _bits(other) == _bits(array)


def _bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _forget_origin(model: ir.Model) -> None:
    """Removes stack traces, module names and other notes of the exporter."""
    model.doc_string = None
    model.metadata_props.clear()
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for function in model.functions.values():
        function.metadata_props.clear()
        function.doc_string = None
    for graph in graphs:
        graph.doc_string = None
        graph.metadata_props.clear()
        for value in _values(graph):
            value.metadata_props.clear()
            value.doc_string = None
            if value.const_value is not None and value.is_initializer():
                value.const_value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            if node.graph is not None and node.graph is not graph:
                node.graph.doc_string = None
                node.graph.metadata_props.clear()
