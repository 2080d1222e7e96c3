"""A quantized weight: codes with scales and zero points, and the steps from them to its tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ir.movements import AddAxes, DropAxes, First, Movement, Reshape, Several, Transpose
from ir.onnx_graph import Unknown

Step = Reshape | Transpose | First


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


def bits_of(low: int, high: int) -> int:
    """Bits that codes from `low` to `high` take."""
    span = (high if low >= 0 else max(high, -low - 1) * 2 + 1).bit_length()
    for bits in (2, 3, 4, 8):
        if span <= bits:
            return bits
    raise Unknown("codes of more than 8 bits")


def codes_of(array: np.ndarray, bits: int, scales: np.ndarray, points: np.ndarray | int) -> Codes:
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


def blocked_codes(
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
    return codes_of(codes, bits, scales, points), steps


def weight_of(
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
