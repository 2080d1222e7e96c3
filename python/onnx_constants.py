"""Values that an ONNX graph computes from constants alone, held in as few bytes as they need.

Quantized weights are often stored packed and taken apart by ordinary integer operators. Computed
with the operators' own types that would cost four to eight bytes a weight several times over; here
every value carries bounds, and its array has the narrowest type that holds them exactly. Constants
in external files are mapped, not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from dialog import Refusal

# Element types below a byte: bits, and whether they are signed.
NARROW_TYPES = {
    TensorProto.UINT4: (4, False),
    TensorProto.INT4: (4, True),
    TensorProto.UINT2: (2, False),
    TensorProto.INT2: (2, True),
}

_INTEGER_TYPES = {
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

_FLOAT_TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
}

# Elements that are computed at a time where a step would take much memory.
_PIECE = 1 << 20

# Longest chain of operators that is followed; names come from untrusted files.
_DEEPEST = 200


class Unknown(Exception):
    """The value can't be computed here: the graph is left as it is."""


@dataclass
class Value:
    """A constant's elements and what type the graph gives them."""

    array: np.ndarray
    """Of any type that holds the elements exactly."""
    type: int
    """The graph's element type, a `TensorProto.DataType`."""
    low: int
    high: int
    """Bounds of the elements where `whole`, from the operators, not from the elements."""
    whole: bool
    """Whether all elements are known to be integers, whatever `type` is."""


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
        if tensor.data_type in _INTEGER_TYPES or tensor.data_type in _FLOAT_TYPES:
            return numpy_helper.to_array(tensor)
        raise Unknown(tensor.name)
    if tensor.data_type in NARROW_TYPES:
        bits, signed = NARROW_TYPES[tensor.data_type]
        _check_length(tensor, stored, (count * bits + 7) // 8)
        return unpack(stored, bits, count, signed).reshape(dims)
    dtype = _INTEGER_TYPES.get(tensor.data_type) or _FLOAT_TYPES.get(tensor.data_type)
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


class Evaluator:
    """Computes constants of a graph. Raises `Unknown` for what it has no rule for.

    `rows_of` names the index of lookups to see through: a Gather of whole rows of a constant by
    that index stands for the constant itself.
    """

    def __init__(self, scope: Scope, rows_of: str | None = None) -> None:
        self._scope = scope
        self._rows_of = rows_of
        self._known: dict[str, Value] = {}

    def value(self, name: str, depth: int = 0) -> Value:
        """The value called `name`."""
        if name in self._known:
            return self._known[name]
        if name == "" or depth > _DEEPEST:
            raise Unknown(name)
        tensor = self._scope.constant(name)
        if tensor is not None:
            home = self._scope.home(name)
            array = elements_of(tensor, self._scope.folder if home is None else home.folder)
            value = _stored(array, tensor.data_type)
        else:
            node = self._scope.maker(name)
            if node is None or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
                raise Unknown(name)
            value = self._compute(node, depth)
        if value.array.nbytes <= 4096:
            self._known[name] = value
        return value

    def integers(self, name: str) -> list[int]:
        """A list of integers, as shapes and axes are."""
        value = self.value(name)
        if not value.whole or value.array.size > 64:
            raise Unknown(name)
        return [int(element) for element in value.array.reshape(-1)]

    def _compute(self, node: onnx.NodeProto, depth: int) -> Value:
        if node.op_type == "Mod":
            digits = self._digits(node, depth)
            if digits is not None:
                return digits
        rule = _RULES.get(node.op_type)
        if rule is not None:
            operands = [self.value(name, depth + 1) for name in node.input]
            return rule(node, operands)
        if node.op_type == "Gather":
            if (
                self._rows_of is None
                or node.input[1] != self._rows_of
                or attribute_of(node, "axis", 0) != 0
            ):
                raise Unknown(node.op_type)
            return self.value(node.input[0], depth + 1)
        if node.op_type == "ReduceSum":
            return self._sum(node, depth)
        step = movement(node, self)
        operand = self.value(node.input[0], depth + 1)
        return Value(
            step.apply(operand.array), operand.type, operand.low, operand.high, operand.whole
        )

    def _digits(self, node: onnx.NodeProto, depth: int) -> Value | None:
        """`Mod(Div(wide, divisors), modulus)` a piece at a time: the quotients would take the most
        memory of all. None for other operands.
        """
        maker = self._scope.maker(node.input[0])
        if maker is None or maker.op_type != "Div" or maker.domain not in ("", "ai.onnx"):
            return None
        wide, divisors = (self.value(name, depth + 2) for name in maker.input)
        modulus = self.value(node.input[1], depth + 1)
        operands = (wide, divisors, modulus)
        if not all(operand.whole and operand.type in _INTEGER_TYPES for operand in operands):
            return None
        if wide.low < 0 or divisors.low <= 0 or modulus.low <= 0:
            return None
        shapes = [operand.array.shape for operand in operands]
        dims = np.broadcast_shapes(*shapes)
        if len(dims) == 0 or wide.array.ndim != len(dims) or wide.array.shape[0] != dims[0]:
            return None
        if any(len(shape) == len(dims) and shape[0] != 1 for shape in shapes[1:]):
            return None
        digits = np.empty(dims, narrowest(0, modulus.high - 1))
        rows = max(1, _PIECE * dims[0] // max(1, digits.size))
        for first in range(0, dims[0], rows):
            quotients = wide.array[first : first + rows] // divisors.array
            digits[first : first + rows] = quotients % modulus.array
        high = min(wide.high // divisors.low, modulus.high - 1)
        return Value(digits, wide.type, 0, high, True)

    def _sum(self, node: onnx.NodeProto, depth: int) -> Value:
        """A sum of integers along one axis."""
        value = self.value(node.input[0], depth + 1)
        axes = self.integers(node.input[1]) if len(node.input) > 1 else []
        for found in node.attribute:
            if found.name == "axes":
                axes = list(found.ints)
        if not value.whole or len(axes) != 1 or not -value.array.ndim <= axes[0] < value.array.ndim:
            raise Unknown("a sum of fractions, or along several axes")
        count = value.array.shape[axes[0]]
        low, high = min(0, value.low * count), max(0, value.high * count)
        _whole(value.type, low, high)
        keep = bool(attribute_of(node, "keepdims", 1))
        array = np.sum(value.array, axes[0], dtype=narrowest(low, high), keepdims=keep)
        return Value(array, value.type, low, high, True)


def _stored(array: np.ndarray, kind: int) -> Value:
    if kind in NARROW_TYPES:
        bits, signed = NARROW_TYPES[kind]
        low = -(1 << (bits - 1)) if signed else 0
        return Value(array, kind, low, low + (1 << bits) - 1, True)
    if kind in _INTEGER_TYPES:
        if array.size <= 16 or array.dtype.itemsize > 1:
            # Small constants are divisors, masks and shapes: their own values are the bounds.
            low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
            return Value(array, kind, low, high, True)
        limits = np.iinfo(array.dtype) if array.dtype != np.bool_ else np.iinfo(np.uint8)
        return Value(array, kind, int(limits.min), int(limits.max), True)
    if array.size <= 16 and array.size > 0 and np.all(np.isfinite(array)):
        low, high = float(array.min()), float(array.max())
        if np.all(array == np.rint(array)) and abs(low) < 2**31 and abs(high) < 2**31:
            return Value(
                array.astype(narrowest(int(low), int(high))), kind, int(low), int(high), True
            )
    return Value(array, kind, 0, 0, False)


def narrowest(low: int, high: int) -> type[np.integer]:
    """The narrowest integer type from `low` to `high`, unsigned before signed."""
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return dtype
    raise Unknown("integers of more than 64 bits")


def _cast(node: onnx.NodeProto, operands: list[Value]) -> Value:
    (value,) = operands
    to = attribute_of(node, "to", 0)
    if value.whole:
        if to in _FLOAT_TYPES:
            limit = {TensorProto.FLOAT: 1 << 24, TensorProto.FLOAT16: 1 << 11}.get(to, 1 << 53)
        elif to in _INTEGER_TYPES and to != TensorProto.BOOL:
            limits = np.iinfo(_INTEGER_TYPES[to])
            limit = int(limits.max)
            if value.low < limits.min:
                raise Unknown("a Cast that wraps")
        else:
            raise Unknown("a Cast to a rare type")
        if max(abs(value.low), abs(value.high)) > limit:
            raise Unknown("a Cast that rounds")
        return Value(value.array, to, value.low, value.high, True)
    widening = {
        (TensorProto.FLOAT16, TensorProto.FLOAT),
        (TensorProto.FLOAT16, TensorProto.DOUBLE),
        (TensorProto.FLOAT, TensorProto.DOUBLE),
    }
    if (value.type, to) in widening or value.type == to:
        return Value(value.array, to, 0, 0, False)
    if to in _FLOAT_TYPES and value.type in _FLOAT_TYPES:
        return Value(value.array.astype(_FLOAT_TYPES[to]), to, 0, 0, False)
    raise Unknown("a Cast of fractions to integers")


def _whole(kind: int, low: int, high: int) -> None:
    """Raises where a result leaves its type: it would wrap."""
    if kind in _INTEGER_TYPES and kind != TensorProto.BOOL:
        limits = np.iinfo(_INTEGER_TYPES[kind])
        if low < limits.min or high > limits.max:
            raise Unknown("arithmetic that wraps")
    elif kind in NARROW_TYPES:
        raise Unknown("arithmetic below a byte")
    elif max(abs(low), abs(high)) > 1 << 11:
        raise Unknown("arithmetic that may round")


def _binary(node: onnx.NodeProto, operands: list[Value]) -> Value:
    left, right = operands
    if not (left.whole and right.whole):
        raise Unknown("arithmetic on fractions")
    a, b = left.array, right.array
    kind = left.type
    corners: list[int]
    if node.op_type in ("Add", "Sub", "Mul"):
        combine = {
            "Add": lambda x, y: x + y,
            "Sub": lambda x, y: x - y,
            "Mul": lambda x, y: x * y,
        }[node.op_type]
        corners = [combine(x, y) for x in (left.low, left.high) for y in (right.low, right.high)]
        low, high = min(corners), max(corners)
        _whole(kind, low, high)
        dtype = narrowest(min(low, left.low, right.low), max(high, left.high, right.high))
        operate = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[node.op_type]
        return Value(operate(a, b, dtype=dtype, casting="unsafe"), kind, low, high, True)
    if kind not in _INTEGER_TYPES or left.low < 0 or right.low <= 0:
        raise Unknown("division of negative numbers")
    dtype = narrowest(0, max(left.high, right.high))
    if node.op_type == "Div":
        quotient = np.floor_divide(a, b, dtype=dtype, casting="unsafe")
        return Value(quotient, kind, 0, left.high // right.low, True)
    remainder = np.remainder(a, b, dtype=dtype, casting="unsafe")
    return Value(remainder, kind, 0, min(left.high, right.high - 1), True)


def _bitwise(node: onnx.NodeProto, operands: list[Value]) -> Value:
    left, right = operands
    if left.type != TensorProto.UINT8 or right.type != TensorProto.UINT8:
        raise Unknown("bit operators on other types than uint8")
    operate = np.bitwise_and if node.op_type == "BitwiseAnd" else np.bitwise_or
    high = min(left.high, right.high)
    if node.op_type == "BitwiseOr":
        high = (1 << max(left.high, right.high).bit_length()) - 1
    array = operate(
        left.array.astype(np.uint8, copy=False), right.array.astype(np.uint8, copy=False)
    )
    return Value(array, TensorProto.UINT8, 0, high, True)


def _shift(node: onnx.NodeProto, operands: list[Value]) -> Value:
    value, by = operands
    if value.type != TensorProto.UINT8:
        raise Unknown("shifts of other types than uint8")
    direction = next((found.s for found in node.attribute if found.name == "direction"), b"")
    operate = np.left_shift if direction == b"LEFT" else np.right_shift
    array = operate(value.array.astype(np.uint8, copy=False), by.array.astype(np.uint8, copy=False))
    high = 255 if direction == b"LEFT" else value.high >> by.low
    return Value(array, TensorProto.UINT8, 0, high, True)


def _concat(node: onnx.NodeProto, operands: list[Value]) -> Value:
    if not all(operand.whole for operand in operands):
        raise Unknown("a Concat of fractions")
    array = np.concatenate([operand.array for operand in operands], attribute_of(node, "axis", 0))
    low = min(operand.low for operand in operands)
    high = max(operand.high for operand in operands)
    return Value(array, operands[0].type, low, high, True)


def _sum(node: onnx.NodeProto, operands: list[Value]) -> Value:
    if len(operands) != 2 or not operands[0].whole or attribute_of(node, "keepdims", 1) != 1:
        raise Unknown("a ReduceSum of fractions, or over all axes")
    value, axes = operands
    along = tuple(int(axis) for axis in axes.array.reshape(-1))
    if not along or any(not -value.array.ndim <= axis < value.array.ndim for axis in along):
        raise Unknown("a ReduceSum along no axis")
    count = int(np.prod([value.array.shape[axis] for axis in along]))
    low, high = min(0, value.low * count), max(0, value.high * count)
    _whole(value.type, low, high)
    array = value.array.sum(axis=along, keepdims=True, dtype=narrowest(low, high))
    return Value(array, value.type, low, high, True)


def _expand(_node: onnx.NodeProto, operands: list[Value]) -> Value:
    value, shape = operands
    wanted = tuple(int(extent) for extent in shape.array.reshape(-1))
    dims = np.broadcast_shapes(value.array.shape, wanted)
    array = np.broadcast_to(value.array, dims)
    return Value(array, value.type, value.low, value.high, value.whole)


_RULES = {
    "Cast": _cast,
    "Add": _binary,
    "Sub": _binary,
    "Mul": _binary,
    "Div": _binary,
    "Mod": _binary,
    "BitwiseAnd": _bitwise,
    "BitwiseOr": _bitwise,
    "BitShift": _shift,
    "Concat": _concat,
    "Expand": _expand,
    "ReduceSum": _sum,
}


@dataclass(frozen=True)
class Reshape:
    """Other extents over the same elements; 0 keeps an extent, -1 is what is left."""

    dims: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Gives `array` the extents."""
        dims = [array.shape[at] if dim == 0 else dim for at, dim in enumerate(self.dims)]
        return array.reshape(dims)


@dataclass(frozen=True)
class Transpose:
    """Axes in another order."""

    order: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Reorders the axes of `array`."""
        return array.transpose(self.order)


@dataclass(frozen=True)
class First:
    """The first elements of an axis."""

    axis: int
    length: int

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Cuts `array`."""
        return array[(slice(None),) * self.axis + (slice(0, self.length),)]


@dataclass(frozen=True)
class Several:
    """Cuts of several axes, or none."""

    steps: tuple[First, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Cuts `array`."""
        for step in self.steps:
            array = step.apply(array)
        return array


@dataclass(frozen=True)
class AddAxes:
    """New axes of one element."""

    axes: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Adds the axes to `array`."""
        return np.expand_dims(array, self.axes)


@dataclass(frozen=True)
class DropAxes:
    """Fewer axes of one element; all of them where `axes` is None."""

    axes: tuple[int, ...] | None

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Drops the axes of `array`."""
        return np.squeeze(array, self.axes)


Movement = Reshape | Transpose | Several | AddAxes | DropAxes


def movement(node: onnx.NodeProto, evaluator: Evaluator) -> Movement:
    """What a node that only moves elements does to its first input. Raises `Unknown` for others."""
    if node.domain not in ("", "ai.onnx"):
        raise Unknown(node.op_type)
    ints = {found.name: list(found.ints) for found in node.attribute if found.ints}
    if node.op_type == "Identity":
        return Several(())
    if node.op_type == "Reshape" and len(node.input) > 1:
        dims = evaluator.integers(node.input[1])
        if attribute_of(node, "allowzero", 0) and 0 in dims:
            raise Unknown("a Reshape to no elements")
        return Reshape(tuple(dims))
    if node.op_type == "Transpose" and "perm" in ints:
        return Transpose(tuple(ints["perm"]))
    if node.op_type in ("Squeeze", "Unsqueeze"):
        axes = ints.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] != "":
            axes = evaluator.integers(node.input[1])
        if node.op_type == "Unsqueeze":
            return AddAxes(tuple(axes or ()))
        return DropAxes(None if axes is None else tuple(axes))
    if node.op_type == "Slice" and len(node.input) > 3:
        starts, ends, axes = (evaluator.integers(name) for name in node.input[1:4])
        steps = evaluator.integers(node.input[4]) if len(node.input) > 4 else [1] * len(starts)
        if any(start != 0 for start in starts) or any(step != 1 for step in steps):
            raise Unknown("a Slice from the middle")
        if any(end < 0 for end in ends) or any(axis < 0 for axis in axes):
            raise Unknown("a Slice from the end")
        return Several(tuple(First(axis, end) for axis, end in zip(axes, ends, strict=True)))
    raise Unknown(node.op_type)
