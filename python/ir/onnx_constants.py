"""Values that an ONNX graph computes from constants alone, held in as few bytes as they need.

Quantized weights are often stored packed and taken apart by ordinary integer operators. Computed
with the operators' own types that would cost four to eight bytes a weight several times over; here
every value carries bounds, and its array has the narrowest type that holds them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ir.movements import AddAxes, DropAxes, First, Movement, Reshape, Several, Transpose
from ir.onnx_graph import (
    FLOAT_TYPES,
    INTEGER_TYPES,
    NARROW_TYPES,
    Scope,
    Unknown,
    attribute_of,
    elements_of,
)

# Elements that are computed at a time where a step would take much memory.
_PIECE = 1 << 20

# Longest chain of operators that is followed; names come from untrusted files.
_DEEPEST = 200


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
        if not all(operand.whole and operand.type in INTEGER_TYPES for operand in operands):
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


def _stored(array: np.ndarray, kind: int) -> Value:
    if kind in NARROW_TYPES:
        bits, signed = NARROW_TYPES[kind]
        low = -(1 << (bits - 1)) if signed else 0
        return Value(array, kind, low, low + (1 << bits) - 1, True)
    if kind in INTEGER_TYPES:
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
        if to in FLOAT_TYPES:
            limit = {TensorProto.FLOAT: 1 << 24, TensorProto.FLOAT16: 1 << 11}.get(to, 1 << 53)
        elif to in INTEGER_TYPES and to != TensorProto.BOOL:
            limits = np.iinfo(INTEGER_TYPES[to])
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
    if to in FLOAT_TYPES and value.type in FLOAT_TYPES:
        return Value(value.array.astype(FLOAT_TYPES[to]), to, 0, 0, False)
    raise Unknown("a Cast of fractions to integers")


def _whole(kind: int, low: int, high: int) -> None:
    """Raises where a result leaves its type: it would wrap."""
    if kind in INTEGER_TYPES and kind != TensorProto.BOOL:
        limits = np.iinfo(INTEGER_TYPES[kind])
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
    if kind not in INTEGER_TYPES or left.low < 0 or right.low <= 0:
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
