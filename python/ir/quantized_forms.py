"""What a quantized weight is, and how the operators of ONNX say it.

`parse_value`, `parse_product` and `parse_lookup` read one weight each and raise `Unknown` for what
they do not recognize. Formats: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ir.movements import AddAxes, DropAxes, First, Movement, Reshape, Several, Transpose
from ir.onnx_constants import Evaluator, Value, movement
from ir.onnx_graph import NARROW_TYPES, Scope, Unknown, attribute_of, stored_bytes, unpack

Step = Reshape | Transpose | First

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# Fewer integers than these are no weight.
_FEWEST = 64
# Operators between a weight's use and its scales that are followed.
_LONGEST = 32


@dataclass(frozen=True)
class Codes:
    """Codes with their scales and zero points: `scale * (code - zero point)`, broadcast."""

    array: np.ndarray
    """uint8 or int8; for "f16" and "bf16" the bits, as uint16; for "f32" float32."""
    element: str
    """"u8", "i8", "u4", "i4", "u3", "u2", "f16", "bf16" or "f32"."""
    scales: np.ndarray | None
    """float32 or float16, of as many axes as `array`; None for float elements."""
    zero_points: np.ndarray | None
    """Of the type of `array`, or float32; of as many axes; None where there are none."""

    @property
    def byte_length(self) -> int:
        """Bytes of codes, scales and zero points, packed."""
        bits = {"f16": 16, "bf16": 16}.get(self.element) or int(self.element[1:])
        total = -(-self.array.size * bits // 8)
        if self.scales is not None:
            total += self.scales.nbytes
        points = self.zero_points
        if points is not None:
            total += points.nbytes if points.dtype == np.float32 else -(-points.size * bits // 8)
        return total

    def fingerprint(self) -> bytes:
        """Equal for equal codes."""
        digest = hashlib.sha256(self.element.encode())
        for part in (self.array, self.scales, self.zero_points):
            if part is None:
                digest.update(b" none")
            else:
                digest.update(f" {part.dtype} {part.shape} ".encode())
                digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        return digest.digest()


@dataclass
class Weight:
    """A weight as codes and what turns their elements into the tensor that the graph reads."""

    codes: Codes
    steps: list[Step]
    """All extents are stated: no 0, no -1."""
    dims: tuple[int, ...]
    type: int
    """`TensorProto.FLOAT` or `FLOAT16`."""
    form: str
    """What expresses it."""


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
    bits = _bits(value.low, value.high)
    if value.low >= 0:
        codes = Codes(value.array.astype(np.uint8, copy=False), f"u{bits}", None, None)
    elif bits in (4, 8):
        codes = Codes(value.array.astype(np.int8, copy=False), f"i{bits}", None, None)
    else:
        raise Unknown(name)
    return _finish(codes, [], value.type, "arithmetic")


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
                return _finish(half, movements, kind, "Cast")
        elif node.op_type == "DequantizeLinear" and (standard or node.domain == "com.microsoft"):
            codes, steps, computed = _dequantized(evaluator, node)
            return _finish(codes, movements, kind or computed, "DequantizeLinear", steps)
        elif standard and node.op_type == "Mul":
            return _finish(
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
    found = _codes(codes, bits, scales.reshape(rows, blocks, 1), points)
    steps: list[Movement] = [
        Reshape((rows, blocks * length)),
        Several((First(1, columns),)),
        Transpose((1, 0)),
    ]
    return _finish(found, list(reversed(steps)), kind, "MatMulNBits")


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
    codes, steps = _blocked(array, bits, axis, length, _real(scale), points)
    return _finish(codes, [], scale.type, "GatherBlockQuantized", steps)


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
        bits = _bits(codes.low, codes.high)
        if points is None:
            return _codes(codes.array, bits, _real(scale), 0)
        if points.whole:
            # Zero points may be stored in more bits than codes; they lie between them all the same.
            bits = max(bits, _bits(*_extremes(points.array)) if points.array.size > 1 else bits)
            return _codes(codes.array, bits, _real(scale), points.array)
        return _codes(codes.array, bits, _real(scale), _real(points).astype(np.float32))
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
    bits = _bits(data.low, data.high)
    scales = _real(scale)
    points: np.ndarray | int = 0
    if len(node.input) > 2 and node.input[2] != "":
        points = evaluator.value(node.input[2]).array
    axis = attribute_of(node, "axis", 1)
    axis += data.array.ndim if axis < 0 else 0
    length = attribute_of(node, "block_size", 0)
    if length > 0:
        codes, steps = _blocked(data.array, bits, axis, length, scales, points)
        return codes, steps, kind
    dims = [1] * data.array.ndim
    if scales.size > 1:
        if not 0 <= axis < len(dims) or data.array.shape[axis] != scales.size:
            raise Unknown("scales of another size")
        dims[axis] = scales.size
    if isinstance(points, np.ndarray):
        points = points.reshape(dims if points.size > 1 else [1] * len(dims))
    return _codes(data.array, bits, scales.reshape(dims), points), [], kind


def _blocked(
    array: np.ndarray,
    bits: int,
    axis: int,
    length: int,
    scales: np.ndarray,
    points: np.ndarray | int,
) -> tuple[Codes, list[Step]]:
    """Codes in blocks along `axis`, which goes last: [..., blocks, length]."""
    extent = array.shape[axis]
    blocks = -(-extent // length)
    expected = tuple(blocks if at == axis else dim for at, dim in enumerate(array.shape))
    if scales.shape != expected or (isinstance(points, np.ndarray) and points.shape != expected):
        raise Unknown("scales of another size")
    moved = np.moveaxis(array, axis, -1)
    lead = moved.shape[:-1]
    if blocks * length != extent:
        padding = [(0, 0)] * len(lead) + [(0, blocks * length - extent)]
        moved = np.pad(moved, padding)
    codes = np.ascontiguousarray(moved).reshape(*lead, blocks, length)
    scales = np.moveaxis(scales, axis, -1)[..., None]
    if isinstance(points, np.ndarray):
        points = np.moveaxis(points, axis, -1)[..., None]
    steps: list[Step] = [Reshape((*lead, blocks * length))]
    if blocks * length != extent:
        steps.append(First(len(lead), extent))
    if axis != array.ndim - 1:
        order = list(range(len(lead)))
        order.insert(axis, len(lead))
        steps.append(Transpose(tuple(order)))
    return _codes(codes, bits, scales, points), steps


def _bits(low: int, high: int) -> int:
    """Bits that codes from `low` to `high` take."""
    span = (high if low >= 0 else max(high, -low - 1) * 2 + 1).bit_length()
    for bits in (2, 3, 4, 8):
        if span <= bits:
            return bits
    raise Unknown("codes of more than 8 bits")


def _extremes(array: np.ndarray) -> tuple[int, int]:
    return int(array.min()), int(array.max())


def _real(value: Value) -> np.ndarray:
    """Fractions as float32 or float16."""
    array = value.array
    if array.dtype in (np.float32, np.float16):
        return array
    if value.whole or array.dtype == np.float64:
        return array.astype(np.float32)
    raise Unknown("scales of a rare type")


def _codes(array: np.ndarray, bits: int, scales: np.ndarray, points: np.ndarray | int) -> Codes:
    """Codes in the element type that holds them, signed where that saves the zero points."""
    rank = array.ndim
    scales = _aligned(scales, rank)
    if np.broadcast_shapes(array.shape, scales.shape) != array.shape:
        raise Unknown("scales of more extents than codes")
    signed = array.dtype.kind == "i" and int(array.min(initial=0)) < 0
    middle = 1 << (bits - 1)
    if isinstance(points, np.ndarray):
        points = _aligned(points, rank)
        if np.broadcast_shapes(array.shape, points.shape) != array.shape:
            raise Unknown("zero points of more extents than codes")
        if points.dtype != np.float32 and points.size > 0 and np.all(points == points.flat[0]):
            points = int(points.flat[0])
    if array.dtype.kind == "i" and not signed:
        # Signed codes of a type below zero of which none is: the type still counts.
        signed = isinstance(points, int) and points == 0 and bits in (4, 8)
    # Codes and zero points may be moved together; what counts is their difference.
    if isinstance(points, np.ndarray) and points.dtype == np.float32:
        shift = middle if signed else 0
        codes = _unsigned(array, shift)
        return Codes(codes, f"u{bits}", _uniform(scales, None)[0], points + np.float32(shift))
    if isinstance(points, int):
        if not signed and points == middle and bits in (4, 8):
            centred = (array.astype(np.uint8, copy=False) ^ np.uint8(1 << 7)).view(np.int8)
            if bits == 4:
                centred = array.astype(np.int8) - np.int8(8)
            return Codes(centred, f"i{bits}", _uniform(scales, None)[0], None)
        if signed and points == 0 and bits in (4, 8):
            return Codes(
                array.astype(np.int8, copy=False), f"i{bits}", _uniform(scales, None)[0], None
            )
    shift = middle if signed else 0
    codes = _unsigned(array, shift)
    scales, held = _uniform(scales, points if isinstance(points, np.ndarray) else None)
    if held is not None:
        return Codes(codes, f"u{bits}", scales, _unsigned(held, shift))
    assert isinstance(points, int)
    point = points + shift
    if not 0 <= point < 1 << bits:
        raise Unknown("a zero point outside of the codes")
    if point == 0:
        return Codes(codes, f"u{bits}", scales, None)
    return Codes(codes, f"u{bits}", scales, np.full([1] * rank, point, np.uint8))


def _unsigned(array: np.ndarray, shift: int) -> np.ndarray:
    if shift == 0:
        return array.astype(np.uint8, copy=False)
    return (array.astype(np.int16) + shift).astype(np.uint8)


def _aligned(array: np.ndarray, rank: int) -> np.ndarray:
    """With leading axes of one element, so that it has `rank` of them."""
    if array.ndim > rank:
        raise Unknown("more axes than the codes have")
    return array.reshape([1] * (rank - array.ndim) + list(array.shape))


def _uniform(scales: np.ndarray, points: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Without the axes along which neither changes; both keep the same extents."""
    if points is not None:
        dims = np.broadcast_shapes(scales.shape, points.shape)
        scales, points = np.broadcast_to(scales, dims), np.broadcast_to(points, dims)
    for axis in range(scales.ndim):
        first = (slice(None),) * axis + (slice(0, 1),)
        both = [scales] if points is None else [scales, points]
        if scales.shape[axis] > 1 and all(_constant_along(part, axis) for part in both):
            scales = scales[first]
            points = None if points is None else points[first]
    return scales, points


def _constant_along(array: np.ndarray, axis: int) -> bool:
    if array.strides[axis] == 0:
        return True
    first = array[(slice(None),) * axis + (slice(0, 1),)]
    return bool(np.all(array == first))


def _finish(
    codes: Codes,
    movements: list[Movement],
    kind: int,
    form: str,
    steps: list[Step] | None = None,
) -> Weight:
    """A weight out of codes, steps after them, and movements, the one nearest its reader first."""
    dims = codes.array.shape
    stated: list[Step] = []
    for step in [*(steps or []), *reversed(movements)]:
        for resolved in _resolve(step, dims):
            stated.append(resolved)
            dims = dims_after(resolved, dims)
    return Weight(codes, stated, dims, kind, form)


def _resolve(step: Movement | First, dims: tuple[int, ...]) -> list[Step]:
    """A movement with all extents stated."""
    if isinstance(step, Several):
        return [
            First(cut.axis, cut.length)
            for cut in step.steps
            if cut.axis < len(dims) and cut.length < dims[cut.axis]
        ]
    if isinstance(step, (Transpose, First)):
        return [step]
    count = int(np.prod(dims))
    if isinstance(step, Reshape):
        wanted = [
            dims[at] if dim == 0 and at < len(dims) else dim for at, dim in enumerate(step.dims)
        ]
        if wanted.count(-1) == 1 and count > 0:
            rest = int(np.prod([dim for dim in wanted if dim != -1]))
            wanted[wanted.index(-1)] = count // rest if rest > 0 else 0
    elif isinstance(step, AddAxes):
        rank = len(dims) + len(step.axes)
        added = {axis % rank for axis in step.axes}
        left = iter(dims)
        wanted = [1 if axis in added else next(left) for axis in range(rank)]
    else:
        wanted = _dropped(step, dims)
    if int(np.prod(wanted)) != count:
        raise Unknown("a Reshape to another number of elements")
    return [Reshape(tuple(wanted))]


def _dropped(step: DropAxes, dims: tuple[int, ...]) -> list[int]:
    if step.axes is None:
        return [dim for dim in dims if dim != 1]
    gone = {axis % len(dims) for axis in step.axes}
    return [dim for axis, dim in enumerate(dims) if axis not in gone]


def dims_after(step: Step, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The extents that a step gives."""
    if isinstance(step, Reshape):
        return step.dims
    if isinstance(step, Transpose):
        if sorted(step.order) != list(range(len(dims))):
            raise Unknown("a Transpose of other axes")
        return tuple(dims[axis] for axis in step.order)
    return tuple(step.length if at == step.axis else dim for at, dim in enumerate(dims))
