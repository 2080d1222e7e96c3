"""Quantized weights as OpenVINO says them: packed constants, converted, shifted and scaled.

A weight is `Constant -> Convert -> [Subtract zero points] -> [Multiply scales] -> ...`, the form
that OpenVINO's plugins keep compressed in memory where they can: under a MatMul the blocks run
along the last axis of the codes, and the weight has its rows first (`transpose_b`).
https://docs.openvino.ai/2026/documentation/openvino-ir-format.html
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import openvino as ov
from onnx import TensorProto
from openvino import opset13 as ops

from ir.movements import First, Reshape, Transpose
from ir.onnx_graph import Unknown
from ir.quantized_weights import QuantizedWeight
from ir.weight_codes import Codes, Step, Weight, dims_after

_TYPES = {
    "u8": ov.Type.u8,
    "i8": ov.Type.i8,
    "u4": ov.Type.u4,
    "i4": ov.Type.i4,
    "u3": ov.Type.u3,
    "u2": ov.Type.u2,
    "f16": ov.Type.f16,
    "bf16": ov.Type.bf16,
    "f32": ov.Type.f32,
}


def arrange(weight: Weight) -> Weight:
    """The same weight with as few steps after its codes as can be.

    Steps along axes that scales and zero points do not depend on are done to the codes.
    """
    codes, steps = _drop_single_blocks(
        weight.codes, _simplify(weight.steps, weight.codes.array.shape)
    )
    if _is_plain(codes):
        array = codes.array
        for step in steps:
            array = step.apply(array)
        rank = array.ndim
        codes = Codes(
            array,
            codes.element,
            None if codes.scales is None else codes.scales.reshape([1] * rank),
            None if codes.zero_points is None else codes.zero_points.reshape([1] * rank),
        )
        steps = []
    codes, before = _even(codes)
    return Weight(codes, [*before, *steps], weight.dims, weight.type, weight.form)


def _even(codes: Codes) -> tuple[Codes, list[Step]]:
    """Codes of which each row fills its bytes, and the steps that undo that.

    OpenVINO 2026.4 reads others wrongly under a product.
    """
    array = codes.array
    each = {"u4": 2, "i4": 2, "u2": 4}.get(codes.element, 1)
    if array.ndim < 2 or array.shape[-1] % each == 0:
        return codes, []
    if _is_plain(codes):
        flat = Codes(
            array.reshape(-1),
            codes.element,
            None if codes.scales is None else codes.scales.reshape(1),
            None if codes.zero_points is None else codes.zero_points.reshape(1),
        )
        return flat, [Reshape(array.shape)]
    width = array.shape[-1]
    padding = [(0, 0)] * (array.ndim - 1) + [(0, -width % each)]
    parts = [codes.scales, codes.zero_points]
    if any(part is not None and part.shape[-1] != 1 for part in parts):
        # One scale a column: rows of scales grow with the codes.
        parts = [
            part if part is None or part.shape[-1] == 1 else np.pad(part, padding, "edge")
            for part in parts
        ]
    wide = Codes(np.pad(array, padding), codes.element, *parts)
    return wide, [First(array.ndim - 1, width)]


def _is_plain(codes: Codes) -> bool:
    """Whether one scale and one zero point hold for all codes."""
    parts = (codes.scales, codes.zero_points)
    return all(part is None or part.size == 1 for part in parts)


def _drop_single_blocks(codes: Codes, steps: list[Step]) -> tuple[Codes, list[Step]]:
    """Rows of one scale each as a matrix; what pads them is cut off the codes."""
    array, scales = codes.array, codes.scales
    if scales is None or array.ndim < 3 or not steps or not isinstance(steps[0], Reshape):
        return codes, steps
    lead, (blocks, length) = array.shape[:-2], array.shape[-2:]
    if scales.shape[-2:] != (1, 1) or steps[0].dims != (*lead, blocks * length):
        return codes, steps
    array = array.reshape(steps[0].dims)
    steps = steps[1:]
    while steps and isinstance(steps[0], First) and steps[0].axis == len(lead):
        array = steps[0].apply(array)
        steps = steps[1:]
    points = codes.zero_points
    return (
        Codes(
            np.ascontiguousarray(array),
            codes.element,
            scales.reshape(scales.shape[:-1]),
            None if points is None else points.reshape(points.shape[:-1]),
        ),
        steps,
    )


def _simplify(steps: list[Step], dims: tuple[int, ...]) -> list[Step]:
    """Equal steps without needless ones; a Transpose goes as late as it can."""
    plain = _squeeze_transposes(steps, dims)
    changed = True
    while changed:
        changed = False
        before = dims
        for at, step in enumerate(plain):
            after = dims_after(step, before)
            following = plain[at + 1] if at + 1 < len(plain) else None
            if after == before and not isinstance(step, Transpose):
                plain[at : at + 1] = []
            elif isinstance(step, Transpose) and list(step.order) == sorted(step.order):
                plain[at : at + 1] = []
            elif isinstance(step, Reshape) and isinstance(following, Reshape):
                plain[at : at + 2] = [following]
            elif isinstance(step, Transpose) and isinstance(following, Transpose):
                order = tuple(step.order[axis] for axis in following.order)
                plain[at : at + 2] = [Transpose(order)]
            elif isinstance(step, Transpose) and isinstance(following, First):
                plain[at : at + 2] = [First(step.order[following.axis], following.length), step]
            elif isinstance(step, Reshape) and isinstance(following, First) and at > 0:
                cut = _cut_before(step, before, following)
                if cut is None:
                    before = after
                    continue
                plain[at : at + 2] = cut
            else:
                before = after
                continue
            changed = True
            break
    return plain


def _cut_before(step: Reshape, before: tuple[int, ...], cut: First) -> list[Step] | None:
    """A cut moved before a Reshape that only adds or drops axes of one element, or None."""
    if [dim for dim in before if dim != 1] != [dim for dim in step.dims if dim != 1]:
        return None
    if step.dims[cut.axis] == 1:
        return None
    place = sum(1 for dim in step.dims[: cut.axis] if dim != 1)
    axis = [at for at, dim in enumerate(before) if dim != 1][place]
    dims = tuple(cut.length if at == cut.axis else dim for at, dim in enumerate(step.dims))
    return [First(axis, cut.length), Reshape(dims)]


def _squeeze_transposes(steps: list[Step], dims: tuple[int, ...]) -> list[Step]:
    """Transposes of axes of more than one element alone, between Reshapes."""
    plain: list[Step] = []
    for step in steps:
        after = dims_after(step, dims)
        if isinstance(step, Transpose) and 1 in dims:
            kept = [axis for axis in step.order if dims[axis] != 1]
            places = sorted(kept)
            order = tuple(places.index(axis) for axis in kept)
            plain.append(Reshape(tuple(dims[axis] for axis in places)))
            plain.append(Transpose(order))
            plain.append(Reshape(after))
        else:
            plain.append(step)
        dims = after
    return plain


def fill_placeholders(model: ov.Model, weights: list[QuantizedWeight]) -> None:
    """Puts the weights in the place of the parameters that stand for them."""
    # Weights that share their codes share the constants.
    shared = Counter(id(found.weight.codes) for found in weights)
    constants: dict[bytes, ov.Output] = {}
    parameters = {
        name: parameter
        for parameter in model.get_parameters()
        for name in parameter.output(0).get_names()
    }
    for found in weights:
        parameter = parameters.get(found.placeholder)
        if parameter is None:
            continue
        weight = arrange(found.weight)
        key = weight.codes.fingerprint() if shared[id(found.weight.codes)] > 1 else None
        value = None if key is None else constants.get(key)
        if value is None:
            value = _dequantize(weight.codes, found.name)
        if key is not None:
            constants[key] = value
        readers = list(parameter.output(0).get_target_inputs())
        by_rows = _by_rows(weight) and [
            reader for reader in readers if _multiplies(reader.get_node(), reader.get_index())
        ]
        if by_rows:
            rows = Weight(weight.codes, weight.steps[:-1], weight.dims, weight.type, weight.form)
            source = _move(value, rows)
            for reader in by_rows:
                _multiply_rows(model, reader, source)
            readers = [reader for reader in readers if reader not in by_rows]
        if readers:
            source = _move(value, weight)
            for reader in readers:
                reader.replace_source_output(source)
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()


def _by_rows(weight: Weight) -> bool:
    """Whether a weight is its rows, transposed at last."""
    last = weight.steps[-1] if weight.steps else None
    if not isinstance(last, Transpose) or len(last.order) < 2:
        return False
    rank = len(last.order)
    return last.order == (*range(rank - 2), rank - 1, rank - 2)


def _multiplies(node: ov.Node, index: int) -> bool:
    """Whether `node` is a product and its input `index` the right operand as it is."""
    if node.get_type_name() != "MatMul" or index != 1:
        return False
    return not node.get_attributes()["transpose_b"]


def _multiply_rows(model: ov.Model, reader: ov.Input, source: ov.Output) -> None:
    """Puts a product with transposed rows in the place of one with a weight."""
    node = reader.get_node()
    product = ops.matmul(
        node.input_value(0), source, bool(node.get_attributes()["transpose_a"]), True
    )
    product.set_friendly_name(node.get_friendly_name())
    output = node.output(0)
    product.output(0).set_names(output.get_names())
    for target in list(output.get_target_inputs()):
        target.replace_source_output(product.output(0))


def _move(value: ov.Output, weight: Weight) -> ov.Output:
    """What turns the elements of a weight's codes into the weight."""
    for step in weight.steps:
        if isinstance(step, Reshape):
            node = ops.reshape(value, np.array(step.dims, np.int64), False)
        elif isinstance(step, Transpose):
            node = ops.transpose(value, np.array(step.order, np.int64))
        else:
            node = ops.slice(
                value,
                np.array([0], np.int64),
                np.array([step.length], np.int64),
                np.array([1], np.int64),
                np.array([step.axis], np.int64),
            )
        value = node.output(0)
    if weight.type == TensorProto.FLOAT16:
        value = ops.convert(value, "f16").output(0)
    return value


def _dequantize(codes: Codes, name: str) -> ov.Output:
    stored = constant(codes.array, codes.element)
    if codes.element == "f32":
        stored.set_friendly_name(name)
        return stored.output(0)
    stored.set_friendly_name(f"{name}/codes")
    value = ops.convert(stored, "f32")
    if codes.zero_points is not None:
        if codes.zero_points.dtype == np.float32:
            points: ov.Node = ops.constant(codes.zero_points)
        else:
            packed = constant(codes.zero_points, codes.element)
            packed.set_friendly_name(f"{name}/zero_points")
            points = ops.convert(packed, "f32")
        value = ops.subtract(value, points)
    if codes.scales is not None:
        scales: ov.Node = ov.op.Constant(ov.Tensor(np.array(codes.scales)))
        scales.set_friendly_name(f"{name}/scales")
        if codes.scales.dtype == np.float16:
            scales = ops.convert(scales, "f32")
        value = ops.multiply(value, scales)
    return value.output(0)


def constant(codes: np.ndarray, element: str) -> ov.op.Constant:
    """A packed constant of codes that take a byte each, or of the bits of 16-bit floats.

    float32 elements are not copied: the array has to outlive the model.
    """
    kind = _TYPES[element]
    if element == "f32":
        return ov.op.Constant(ov.Tensor(codes, shared_memory=True))
    tensor = ov.Tensor(kind, list(codes.shape))
    flat = np.ascontiguousarray(codes).reshape(-1)
    packed = flat.view(np.uint8) if kind.bitwidth >= 8 else pack(flat.view(np.uint8), kind.bitwidth)
    target = tensor.data.reshape(-1).view(np.uint8)
    if target.size != packed.size:
        raise Unknown(f"OpenVINO holds {element} in {target.size} bytes, not {packed.size}")
    target[...] = packed
    return ov.op.Constant(tensor)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of a byte each as OpenVINO packs them.

    2 and 4 bits: the first code in the lowest bits. 3 bits: eight codes in three bytes, the first
    two with the low two bits of four codes each, the third with the high bits; the first code is in
    the highest bits.
    """
    each = {2: 4, 3: 8, 4: 2}[bits]
    if codes.size % each != 0:
        codes = np.concatenate([codes, np.zeros(-codes.size % each, np.uint8)])
    groups = codes.reshape(-1, each)
    if bits != 3:
        packed = groups[:, 0] & ((1 << bits) - 1)
        for place in range(1, each):
            packed |= groups[:, place] << (bits * place)
        return packed
    planes = np.zeros((len(groups), 3), np.uint8)
    for place in range(8):
        code = groups[:, place]
        planes[:, place // 4] |= (code & 3) << (6 - 2 * (place % 4))
        planes[:, 2] |= (code >> 2) << (7 - place)
    return planes.reshape(-1)
