"""How the operators of ONNX say what a quantized weight is.

`parse_value`, `parse_product` and `parse_lookup` read one weight each and raise `Unknown` for what
they do not recognize. Formats: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ir.movements import First, Movement, Reshape, Several, Transpose
from ir.onnx_constants import Evaluator, Value, movement
from ir.onnx_graph import NARROW_TYPES, Scope, Unknown, attribute_of, stored_bytes, unpack
from ir.weight_codes import Codes, Step, Weight, bits_of, blocked_codes, codes_of, weight_of

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# Fewer integers than these are no weight.
_FEWEST = 64
# Operators between a weight's use and its scales that are followed.
_LONGEST = 32


def parse_value(scope: Scope, name: str, rows_of: str | None = None) -> Weight:
    """The weight `name`, which a graph computes from constants.

    With `rows_of`, lookups by the index of that name are taken for the tables themselves.
    """
    try:
        return _parse_scaled(scope, name, rows_of)
    except Unknown:
        if rows_of is not None:
            raise
        return _parse_whole(scope, name)


def _parse_whole(scope: Scope, name: str) -> Weight:
    """Integers of few bits as floats: OpenVINO 2026.4 computes with shifted uint8 wrongly."""
    value = Evaluator(scope).value(name)
    if not value.whole or value.type not in _FLOATS or value.array.size < _FEWEST:
        raise Unknown(name)
    bits = bits_of(value.low, value.high)
    if value.low >= 0:
        codes = Codes(value.array.astype(np.uint8, copy=False), f"u{bits}", None, None)
    elif bits in (4, 8):
        codes = Codes(value.array.astype(np.int8, copy=False), f"i{bits}", None, None)
    else:
        raise Unknown(name)
    return weight_of(codes, [], value.type, "arithmetic")


def _parse_scaled(scope: Scope, name: str, rows_of: str | None) -> Weight:
    evaluator = Evaluator(scope, rows_of)
    movements: list[Movement] = []
    kind: int | None = None
    for _ in range(_LONGEST):
        node = scope.maker(name)
        if node is None or len(node.output) != 1:
            raise Unknown(name)
        standard = node.domain in ("", "ai.onnx")
        if standard and node.op_type == "Cast":
            to = attribute_of(node, "to", 0)
            if to not in _FLOATS:
                raise Unknown("a Cast to another type than float32 and float16")
            if kind == TensorProto.FLOAT and to == TensorProto.FLOAT16:
                raise Unknown("float32 that was rounded to float16")
            kind = kind or to
            half = _stored_half(scope, node.input[0])
            if half is not None:
                return weight_of(half, movements, kind, "Cast")
        elif node.op_type == "DequantizeLinear" and (standard or node.domain == "com.microsoft"):
            codes, steps, computed = _dequantized(evaluator, node)
            return weight_of(codes, movements, kind or computed, "DequantizeLinear", steps)
        elif standard and node.op_type == "Mul":
            return weight_of(
                _scaled(evaluator, scope, node), movements, kind or TensorProto.FLOAT, "arithmetic"
            )
        else:
            movements.append(movement(node, evaluator))
        name = node.input[0]
    raise Unknown("too long a chain of operators")


def parse_product(scope: Scope, node: onnx.NodeProto) -> Weight:
    """The weight [K, N] of a `MatMulNBits`."""
    if len(node.input) > 4 and node.input[4] != "":
        raise Unknown("columns in another order")
    evaluator = Evaluator(scope)
    bits = attribute_of(node, "bits", 4)
    columns, rows = attribute_of(node, "K", 0), attribute_of(node, "N", 0)
    length = attribute_of(node, "block_size", 0)
    if bits not in (2, 4, 8) or min(columns, rows, length) < 1 or length * bits % 8 != 0:
        raise Unknown("MatMulNBits of a rare kind")
    blocks = -(-columns // length)
    packed = evaluator.value(node.input[1]).array
    if packed.size != rows * blocks * length * bits // 8 or packed.dtype.itemsize != 1:
        raise Unknown("codes of another size")
    codes = unpack(packed.view(np.uint8), bits, rows * blocks * length)
    codes = codes.reshape(rows, blocks, length)
    scales = _real(evaluator.value(node.input[2]))
    kind = evaluator.value(node.input[2]).type
    if scales.size != rows * blocks or kind not in _FLOATS:
        raise Unknown("scales of another size")
    middle = 1 << (bits - 1)
    points: np.ndarray | int = middle
    if len(node.input) > 3 and node.input[3] != "":
        value = evaluator.value(node.input[3])
        if value.type == TensorProto.UINT8:
            points = _row_points(value.array, rows, blocks, bits)
        else:
            points = _real(value).astype(np.float32).reshape(rows, blocks, 1)
    if scope.constant(node.input[1]) is None and bits == 4:
        # Narrower codes that were joined to nibbles for the operator's sake.
        widest = int(codes.max(initial=0))
        if isinstance(points, np.ndarray) and points.dtype == np.uint8:
            bits = max(2, max(widest, int(points.max(initial=0))).bit_length())
    found = codes_of(codes, bits, scales.reshape(rows, blocks, 1), points)
    steps: list[Movement] = [
        Reshape((rows, blocks * length)),
        Several((First(1, columns),)),
        Transpose((1, 0)),
    ]
    return weight_of(found, list(reversed(steps)), kind, "MatMulNBits")


def parse_lookup(scope: Scope, node: onnx.NodeProto) -> Weight:
    """The table of a `GatherBlockQuantized`."""
    evaluator = Evaluator(scope)
    data = evaluator.value(node.input[0])
    scale = evaluator.value(node.input[2])
    length = attribute_of(node, "block_size", 128)
    array = data.array
    bits = attribute_of(node, "bits", 4)
    points: np.ndarray | int = 0
    axis = attribute_of(node, "quantize_axis", 1)
    axis += array.ndim if axis < 0 else 0
    if not 0 <= axis < array.ndim or length < 1 or scale.type not in _FLOATS:
        raise Unknown("GatherBlockQuantized of a rare kind")
    named = len(node.input) > 3 and node.input[3] != ""
    if data.type in NARROW_TYPES:
        bits = NARROW_TYPES[data.type][0]
        if named:
            points = evaluator.value(node.input[3]).array
    elif data.type == TensorProto.UINT8 and axis == array.ndim - 1 and bits in (2, 4, 8):
        each = 8 // bits
        dims = (*array.shape[:-1], array.shape[-1] * each)
        array = unpack(array, bits, array.size * each).reshape(dims)
        points = 1 << (bits - 1)
        if named:
            stored = evaluator.value(node.input[3]).array
            if scale.array.shape[-1] % each != 0:
                raise Unknown("zero points of which releases differ")
            points = unpack(stored, bits, stored.size * each).reshape(scale.array.shape)
    else:
        raise Unknown("GatherBlockQuantized of a rare kind")
    codes, steps = blocked_codes(array, bits, axis, length, _real(scale), points)
    return weight_of(codes, [], scale.type, "GatherBlockQuantized", steps)


def _row_points(packed: np.ndarray, rows: int, blocks: int, bits: int) -> np.ndarray:
    """Zero points of which each row begins at a byte."""
    width = -(-blocks * bits // 8)
    if packed.size != rows * width:
        raise Unknown("zero points of another size")
    stored = np.ascontiguousarray(packed).reshape(-1).view(np.uint8)
    points = unpack(stored, bits, rows * width * 8 // bits)
    return points.reshape(rows, -1)[:, :blocks].reshape(rows, blocks, 1)


def _stored_half(scope: Scope, name: str) -> Codes | None:
    """A constant stored in 16 bits of float, or None."""
    tensor = scope.constant(name)
    home = scope.home(name)
    elements = {TensorProto.FLOAT16: "f16", TensorProto.BFLOAT16: "bf16"}
    if tensor is None or home is None or tensor.data_type not in elements:
        return None
    stored = stored_bytes(tensor, home.folder)
    dims = tuple(tensor.dims)
    if stored is None or len(dims) == 0 or stored.size != 2 * int(np.prod(dims)):
        return None
    element = elements[tensor.data_type]
    return Codes(stored.view(np.uint16).reshape(dims), element, None, None)


def _scaled(evaluator: Evaluator, scope: Scope, node: onnx.NodeProto) -> Codes:
    """`(code - zero point) * scale`, the factors in either order."""
    problem: Unknown | None = None
    for first, second in (tuple(node.input), tuple(reversed(node.input))):
        try:
            scale = evaluator.value(second)
            codes, points = _centred(evaluator, scope, first)
        except Unknown as error:
            problem = error
            continue
        if scale.type not in _FLOATS or not codes.whole or codes.array.size < scale.array.size:
            continue
        bits = bits_of(codes.low, codes.high)
        if points is None:
            return codes_of(codes.array, bits, _real(scale), 0)
        if points.whole:
            # Zero points may be stored in more bits than codes; they lie between them all the same.
            bits = max(bits, bits_of(*_extremes(points.array)) if points.array.size > 1 else bits)
            return codes_of(codes.array, bits, _real(scale), points.array)
        return codes_of(codes.array, bits, _real(scale), _real(points).astype(np.float32))
    raise problem or Unknown("a product of no codes")


def _centred(evaluator: Evaluator, scope: Scope, name: str) -> tuple[Value, Value | None]:
    node = scope.maker(name)
    if node is not None and node.op_type == "Sub":
        return evaluator.value(node.input[0]), evaluator.value(node.input[1])
    return evaluator.value(name), None


def _dequantized(evaluator: Evaluator, node: onnx.NodeProto) -> tuple[Codes, list[Step], int]:
    """Codes of a DequantizeLinear, what follows them, and the type of the result."""
    data = evaluator.value(node.input[0])
    scale = evaluator.value(node.input[1])
    if not data.whole or scale.type not in _FLOATS or data.array.ndim == 0:
        raise Unknown("DequantizeLinear of a rare kind")
    if data.type not in NARROW_TYPES and data.type not in (TensorProto.UINT8, TensorProto.INT8):
        raise Unknown("DequantizeLinear of a rare type")
    kind = attribute_of(node, "output_dtype", 0) or scale.type
    if kind not in _FLOATS:
        raise Unknown("DequantizeLinear to a rare type")
    bits = bits_of(data.low, data.high)
    scales = _real(scale)
    points: np.ndarray | int = 0
    if len(node.input) > 2 and node.input[2] != "":
        points = evaluator.value(node.input[2]).array
    axis = attribute_of(node, "axis", 1)
    axis += data.array.ndim if axis < 0 else 0
    length = attribute_of(node, "block_size", 0)
    if length > 0:
        codes, steps = blocked_codes(data.array, bits, axis, length, scales, points)
        return codes, steps, kind
    dims = [1] * data.array.ndim
    if scales.size > 1:
        if not 0 <= axis < len(dims) or data.array.shape[axis] != scales.size:
            raise Unknown("scales of another size")
        dims[axis] = scales.size
    if isinstance(points, np.ndarray):
        points = points.reshape(dims if points.size > 1 else [1] * len(dims))
    return codes_of(data.array, bits, scales.reshape(dims), points), [], kind


def _real(value: Value) -> np.ndarray:
    """Fractions as float32 or float16."""
    array = value.array
    if array.dtype in (np.float32, np.float16):
        return array
    if value.whole or array.dtype == np.float64:
        return array.astype(np.float32)
    raise Unknown("scales of a rare type")


def _extremes(array: np.ndarray) -> tuple[int, int]:
    return int(array.min()), int(array.max())
