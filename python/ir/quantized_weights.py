"""Finds the quantized weights of an ONNX model, whatever expresses them, and takes them out.

A weight is quantized where a float tensor is computed from integer constants: by DequantizeLinear,
by MatMulNBits or GatherBlockQuantized, or by ordinary arithmetic `scale * (code - zero point)`, on
the whole weight or on looked-up rows of it. A constant stored in 16 bits and cast counts as well.
Each becomes a new input of the model, a placeholder with the weight's type and extents, and a
`QuantizedWeight` that says what belongs there: whoever converts the rest has nothing to compute
away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto, helper

from ir.onnx_graph import Scope, Unknown, attribute_of, constant_of, elements_of, subgraphs
from ir.quantized_forms import parse_lookup, parse_product, parse_value
from ir.weight_codes import Codes, Weight

# Form of a weight that is not quantized at all.
STORED = "stored"

# Elements from which a float tensor in an external file is not read into memory.
_LARGE = 1 << 18
_STANDARD = ("", "ai.onnx")
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"}


@dataclass
class QuantizedWeight:
    """A weight, and the input that stands for it."""

    name: str
    """What the graph calls it."""
    placeholder: str
    weight: Weight
    form: str
    """What expressed it in ONNX."""


@dataclass(frozen=True)
class _Change:
    """A node to replace, and the weight that it gives or reads."""

    graph: onnx.GraphProto
    node: onnx.NodeProto
    name: str
    weight: Weight
    index: str
    """Name of the index of looked-up rows; empty for whole weights."""


class Extraction:
    """Takes the quantized weights out of `model`, which is changed: see `weights`.

    `folder` is where the model's external data lie. Raises `Refusal` where those can't be read.
    """

    def __init__(self, model: onnx.ModelProto, folder: str) -> None:
        self.model = model
        self.weights: list[QuantizedWeight] = []
        self._placeholders: dict[tuple[bytes, str], str] = {}
        self._codes: dict[bytes, Codes] = {}
        self._names = set(_all_names(model.graph))
        # Everything is recognized before anything is replaced: forms share their constants, in
        # branches too.
        for change in self._recognize(Scope(model.graph, None, folder)):
            self._replace(change)
        if self.weights:
            _prune(model.graph)
            self._drop_unread()
        self._map_large(folder)

    def _recognize(self, scope: Scope) -> list[_Change]:
        """The weights of a graph and of those in it."""
        graph = scope.graph
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        leaving = {value.name for value in graph.output}
        for node in graph.node:
            for inner in subgraphs(node):
                leaving.update(_all_reads(inner))
        constant = _constant_values(scope)

        changes: list[_Change] = []

        def recognize(
            node: onnx.NodeProto, name: str, parse: Callable[[], Weight], index: str = ""
        ) -> bool:
            try:
                changes.append(_Change(graph, node, name, parse(), index))
            except Unknown:
                return False
            return True

        seen: set[str] = set()

        def recognize_in(name: str) -> None:
            """Recognizes a value, or else what it is made of."""
            waiting = [name]
            while waiting:
                value = waiting.pop()
                maker = scope.makers.get(value)
                if value in seen or maker is None:
                    continue
                seen.add(value)
                if not recognize(maker, value, partial(parse_value, scope, value)):
                    waiting.extend(found for found in maker.input if found in constant)

        for node in graph.node:
            if node.domain == "com.microsoft" and node.op_type == "MatMulNBits":
                recognize(node, node.input[1], partial(parse_product, scope, node))
            if node.domain == "com.microsoft" and node.op_type == "GatherBlockQuantized":
                recognize(node, node.input[0], partial(parse_lookup, scope, node))
        replaced = {change.node.output[0] for change in changes}

        def ends(name: str, inside: set[str]) -> bool:
            """Whether something outside of the values `inside`, that stays, reads `name`."""
            return name in leaving or any(
                reader.output[0] not in replaced
                and not all(output in inside for output in reader.output)
                for reader in readers.get(name, [])
            )

        for node in graph.node:
            for output in node.output:
                if output in scope.makers and output in constant and ends(output, constant):
                    recognize_in(output)
        for index, lookups in _row_lookups(scope, constant).items():
            derived = _derived(graph, lookups, constant)
            table = lookups[0].input[0]
            for node in graph.node:
                for output in node.output:
                    if output in derived and ends(output, derived):
                        recognize(node, table, partial(parse_value, scope, output, index), index)
        for node in graph.node:
            for inner in subgraphs(node):
                changes.extend(self._recognize(Scope(inner, scope, scope.folder)))
        return changes

    def _replace(self, change: _Change) -> None:
        """Lets a node read the placeholder of its weight."""
        node, name, weight, index = change.node, change.name, change.weight, change.index
        output = node.output[0]
        if node.op_type == "MatMulNBits":
            place = self._placeholder(weight, name, "MatMulNBits")
            bias = node.input[5] if len(node.input) > 5 else ""
            product = output if bias == "" else self._fresh(output)
            at = _place_of(change.graph, node)
            node.CopyFrom(helper.make_node("MatMul", [node.input[0], place], [product], node.name))
            if bias != "":
                change.graph.node.insert(at + 1, helper.make_node("Add", [product, bias], [output]))
        elif node.op_type == "GatherBlockQuantized":
            place = self._placeholder(weight, name, "GatherBlockQuantized")
            axis = attribute_of(node, "gather_axis", 0)
            inputs = [place, node.input[1]]
            node.CopyFrom(helper.make_node("Gather", inputs, [output], node.name, axis=axis))
        elif index != "":
            place = self._placeholder(weight, name, "arithmetic on rows")
            node.CopyFrom(helper.make_node("Gather", [place, index], [output], node.name))
        else:
            place = self._placeholder(weight, output, weight.form)
            node.CopyFrom(helper.make_node("Identity", [place], [output], node.name))

    def _placeholder(self, weight: Weight, name: str, form: str) -> str:
        """The input that stands for `weight`; one for all that are alike."""
        content = weight.codes.fingerprint()
        weight.codes = self._codes.setdefault(content, weight.codes)
        key = (content, f"{weight.steps} {weight.dims} {weight.type}")
        known = self._placeholders.get(key)
        if known is not None:
            return known
        name = _weight_name(name)
        placeholder = self._placeholders[key] = self._fresh(f"{name}.quantized")
        self.weights.append(QuantizedWeight(name, placeholder, weight, form))
        value = helper.make_tensor_value_info(placeholder, weight.type, list(weight.dims))
        self.model.graph.input.append(value)
        return placeholder

    def _map_large(self, folder: str) -> None:
        """Takes out the large floats of external files too, which then need not be in memory."""
        graph = self.model.graph
        for at in reversed(range(len(graph.initializer))):
            tensor = graph.initializer[at]
            if (
                tensor.data_location != TensorProto.EXTERNAL
                or tensor.data_type != TensorProto.FLOAT
                or math.prod(tensor.dims) < _LARGE
                or any(value.name == tensor.name for value in graph.input)
            ):
                continue
            array = elements_of(tensor, folder)
            codes = Codes(array, "f32", None, None)
            weight = Weight(codes, [], array.shape, tensor.data_type, STORED)
            self.weights.append(QuantizedWeight(tensor.name, tensor.name, weight, STORED))
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)
            del graph.initializer[at]

    def _drop_unread(self) -> None:
        """Forgets constants of which only quantized weights were made."""
        read = set(_all_reads(self.model.graph))
        self.weights = [found for found in self.weights if found.placeholder in read]
        placeholders = set(self._placeholders.values())
        inputs = self.model.graph.input
        for at in reversed(range(len(inputs))):
            if inputs[at].name in placeholders and inputs[at].name not in read:
                del inputs[at]

    def _fresh(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self._names:
            candidate, number = f"{name}.{number}", number + 1
        self._names.add(candidate)
        return candidate


def _row_lookups(scope: Scope, constant: set[str]) -> dict[str, list[onnx.NodeProto]]:
    """Gathers of rows of constants, at least one of them of bytes, by the name of their index."""
    lookups: dict[str, list[onnx.NodeProto]] = {}
    for node in scope.graph.node:
        if node.op_type != "Gather" or node.domain not in _STANDARD:
            continue
        if attribute_of(node, "axis", 0) != 0 or node.input[1] in constant:
            continue
        if node.input[0] in constant or scope.constant(node.input[0]) is not None:
            lookups.setdefault(node.input[1], []).append(node)

    def of_bytes(node: onnx.NodeProto) -> bool:
        tensor = scope.constant(node.input[0])
        return tensor is not None and tensor.data_type == TensorProto.UINT8

    return {
        index: sorted(nodes, key=lambda node: not of_bytes(node))
        for index, nodes in lookups.items()
        if any(of_bytes(node) for node in nodes)
    }


def _derived(graph: onnx.GraphProto, lookups: list[onnx.NodeProto], constant: set[str]) -> set[str]:
    """The values that `lookups` and constants alone give."""
    derived = {output for node in lookups for output in node.output}
    for node in graph.node:
        inputs = [name for name in node.input if name != ""]
        if (
            any(name in derived for name in inputs)
            and all(name in derived or name in constant for name in inputs)
            and not any(True for _ in subgraphs(node))
            and node.op_type != "Shape"
        ):
            derived.update(node.output)
    return derived


def _constant_values(scope: Scope) -> set[str]:
    """The values of a graph that depend on no input, stored ones too."""
    constant: set[str] = set()
    outer: Scope | None = scope
    while outer is not None:
        constant.update(outer.constants)
        outer = outer.parent
    for node in scope.graph.node:
        inputs = [name for name in node.input if name != ""]
        if (
            inputs
            and node.op_type not in _RANDOM
            and all(name in constant for name in inputs)
            and not any(True for _ in subgraphs(node))
        ):
            constant.update(output for output in node.output if output != "")
    return constant


def _weight_name(name: str) -> str:
    """The name of the weight that a tensor of codes belongs to."""
    for part in (".codes", ".low0"):
        if name.endswith(part):
            return name[: -len(part)]
    return name


def _place_of(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    output = node.output[0]
    return next(at for at, found in enumerate(graph.node) if output in found.output)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        yield tensor.name
    for value in [*graph.input, *graph.output]:
        yield value.name
    for node in graph.node:
        yield from node.output
        for inner in subgraphs(node):
            yield from _all_names(inner)


def _all_reads(graph: onnx.GraphProto) -> Iterator[str]:
    """What the nodes of a graph and of those in it read, and its outputs."""
    for value in graph.output:
        yield value.name
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from _all_reads(inner)


def _prune(graph: onnx.GraphProto) -> None:
    """Drops what nothing reads any more."""
    for node in graph.node:
        for inner in subgraphs(node):
            _prune(inner)
    read = set(_all_reads(graph))
    for at in reversed(range(len(graph.node))):
        node = graph.node[at]
        if any(output in read for output in node.output):
            continue
        if node.op_type in _RANDOM and not node.output:
            continue
        del graph.node[at]
        read = read if constant_of(node) is not None else set(_all_reads(graph))
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name not in read:
            del graph.initializer[at]
