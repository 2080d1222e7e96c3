"""The names of an ONNX graph, and the stored tensors behind them. Constants in external files are
mapped, not read; where they can't be, a `Refusal` says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from child.dialog import Refusal

# Element types below a byte: bits, and whether they are signed.
NARROW_TYPES = {
    TensorProto.UINT4: (4, False),
    TensorProto.INT4: (4, True),
    TensorProto.UINT2: (2, False),
    TensorProto.INT2: (2, True),
}

INTEGER_TYPES = {
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}

FLOAT_TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
}


class Unknown(Exception):
    """The value can't be computed here: the graph is left as it is."""


class Scope:
    """The names of one graph and of those around it."""

    def __init__(self, graph: onnx.GraphProto, parent: Scope | None, folder: str) -> None:
        self.graph = graph
        self.parent = parent
        self.folder = folder
        self.constants: dict[str, TensorProto] = {}
        self.makers: dict[str, onnx.NodeProto] = {}
        self.inputs = {value.name for value in graph.input}
        for tensor in graph.initializer:
            # An input of the same name may override the constant.
            if tensor.name not in self.inputs:
                self.constants[tensor.name] = tensor
        for node in graph.node:
            tensor = constant_of(node)
            for output in node.output:
                if output == "":
                    continue
                if tensor is not None:
                    self.constants[output] = tensor
                else:
                    self.makers[output] = node

    def home(self, name: str) -> Scope | None:
        """The innermost graph that defines `name`."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.constants or name in scope.makers or name in scope.inputs:
                return scope
            scope = scope.parent
        return None

    def constant(self, name: str) -> TensorProto | None:
        """The stored tensor called `name`, or None."""
        home = self.home(name)
        return None if home is None else home.constants.get(name)

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that computes `name`, or None for constants and inputs."""
        home = self.home(name)
        return None if home is None else home.makers.get(name)


def constant_of(node: onnx.NodeProto) -> TensorProto | None:
    """The tensor of a Constant node, or None for other nodes and other kinds of value."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            return attribute.t
        if attribute.name == "value_float":
            return numpy_helper.from_array(np.array(attribute.f, dtype=np.float32))
        if attribute.name == "value_int":
            return numpy_helper.from_array(np.array(attribute.i, dtype=np.int64))
        if attribute.name == "value_floats":
            return numpy_helper.from_array(np.array(attribute.floats, dtype=np.float32))
        if attribute.name == "value_ints":
            return numpy_helper.from_array(np.array(attribute.ints, dtype=np.int64))
    return None


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def attribute_of(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    return next((found.i for found in node.attribute if found.name == name), default)


def external_file(tensor: TensorProto, folder: str) -> tuple[str, int, int]:
    """Path, offset and length of a tensor's external data.

    Raises `Refusal` where the path leaves `folder` or the file does not hold the data.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path = os.path.join(folder, location)
    root = os.path.realpath(folder)
    if (
        location == ""
        or os.path.isabs(location)
        or os.path.commonpath([root, os.path.realpath(path)]) != root
    ):
        raise Refusal(
            "input",
            f'Cannot read the data of tensor "{tensor.name}": its file "{location}" does not lie '
            "in the model's folder. Put it there, or save the model again.",
        )
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise Refusal(
            "input",
            f'Cannot read the data of tensor "{tensor.name}": there is no file "{location}" '
            "beside the model. Copy it there.",
        ) from error
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size - offset)))
    except ValueError as error:
        raise Refusal(
            "input",
            f'Cannot read the data of tensor "{tensor.name}": its place in "{location}" is no '
            "number. Save the model again.",
        ) from error
    if offset < 0 or length < 0 or offset + length > size:
        raise Refusal(
            "input",
            f'Cannot read the data of tensor "{tensor.name}": it ends at byte {offset + length} '
            f'of "{location}", which has {size}. Get the whole file.',
        )
    return path, offset, length


def stored_bytes(tensor: TensorProto, folder: str) -> np.ndarray | None:
    """The bytes of a tensor as uint8; None where they are in typed fields."""
    if tensor.data_location == TensorProto.EXTERNAL:
        path, offset, length = external_file(tensor, folder)
        if length == 0:
            return np.zeros(0, np.uint8)
        # Copy on write: OpenVINO shares writable memory only.
        return np.memmap(path, np.uint8, "c", offset, (length,))
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.uint8)
    return None


def elements_of(tensor: TensorProto, folder: str) -> np.ndarray:
    """The elements of a stored tensor; narrow types a byte each.

    Raises `Refusal` where the data do not fit the extents, `Unknown` for types that are not held.
    """
    dims = tuple(tensor.dims)
    count = int(np.prod(dims, dtype=np.int64)) if dims else 1
    stored = stored_bytes(tensor, folder)
    if stored is None:
        if tensor.data_type in NARROW_TYPES:
            narrow = numpy_helper.to_array(tensor)
            return narrow.astype(np.int8 if NARROW_TYPES[tensor.data_type][1] else np.uint8)
        if tensor.data_type in INTEGER_TYPES or tensor.data_type in FLOAT_TYPES:
            return numpy_helper.to_array(tensor)
        raise Unknown(tensor.name)
    if tensor.data_type in NARROW_TYPES:
        bits, signed = NARROW_TYPES[tensor.data_type]
        _check_length(tensor, stored, (count * bits + 7) // 8)
        return unpack(stored, bits, count, signed).reshape(dims)
    dtype = INTEGER_TYPES.get(tensor.data_type) or FLOAT_TYPES.get(tensor.data_type)
    if dtype is None:
        raise Unknown(tensor.name)
    _check_length(tensor, stored, count * np.dtype(dtype).itemsize)
    return stored.view(dtype).reshape(dims)


def _check_length(tensor: TensorProto, stored: np.ndarray, expected: int) -> None:
    if stored.size != expected:
        raise Refusal(
            "input",
            f'Cannot read tensor "{tensor.name}": it has {stored.size} bytes of data and its type '
            f"and extents want {expected}. Export the model again.",
        )


def unpack(packed: np.ndarray, bits: int, count: int, signed: bool = False) -> np.ndarray:
    """Codes of 2, 4 or 8 bits out of bytes, lowest bits first, a byte each."""
    if bits == 8:
        codes = packed.reshape(-1)[:count]
        return codes.view(np.int8) if signed else codes
    each = 8 // bits
    codes = np.empty((packed.size, each), np.uint8)
    flat = packed.reshape(-1)
    for place in range(each):
        np.right_shift(flat, bits * place, out=codes[:, place])
    codes &= (1 << bits) - 1
    codes = codes.reshape(-1)[:count]
    if signed:
        sign = 1 << (bits - 1)
        codes ^= sign
        return np.subtract(codes.view(np.int8), sign, out=codes.view(np.int8))
    return codes
