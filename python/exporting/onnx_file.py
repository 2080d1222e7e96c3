"""Writes an ONNX model from memory to a file without copying its weights.

A serialized model is its graph with one `initializer` field (number 5 of GraphProto) for every
weight, the graph being field 7 of ModelProto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). The lengths of all of them are known
beforehand, so the weights are streamed from where they lie. With
external data they go to a file beside the model, each at a multiple of 64 bytes, large ones of
4096, so that a runtime can map them into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from child.dialog import Refusal

if TYPE_CHECKING:
    import onnx_ir as ir

ExternalData = Literal["auto", "always", "never"]

_LARGEST_FILE = (1 << 31) - (1 << 20)
"""Bytes that a protobuf message may have, less some room."""
_SMALL = 1024
"""Bytes of a constant that always stays in the file."""
_CHUNK = 1 << 24


def save(model: ir.Model, path: Path, external_data: ExternalData) -> list[str]:
    """Writes `model` to `path`, and with external data to `path` with ".data" appended.

    Gives the names of the files, the model's first. "auto" takes external data where one file would
    pass 2 GiB.

    Raises `Refusal` where "never" was asked for and the model is too large.
    """
    import onnx_ir as ir

    large = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _SMALL
    }
    total = sum(tensor.nbytes for tensor in large.values())
    external = external_data == "always" and bool(large)
    if total > _LARGEST_FILE:
        if external_data == "never":
            raise Refusal(
                "input",
                f'Cannot write "{path.name}" as one file: its weights take {total} bytes, and an '
                "ONNX file holds less than 2 GiB. Allow external data.",
            )
        external = True
    offsets = _offsets(large)
    data_name = path.name + ".data"
    try:
        for name, tensor in large.items():
            model.graph.initializers[name].const_value = ir.ExternalTensor(
                data_name,
                offset=offsets[name],
                length=tensor.nbytes,
                dtype=tensor.dtype,
                shape=tensor.shape,
                name=name,
                base_dir=str(path.parent),
            )
        proto = ir.to_proto(model)
    finally:
        for name, tensor in large.items():
            model.graph.initializers[name].const_value = tensor
    if not external:
        with path.open("wb") as file:
            _write_one(file, proto, large)
        return [path.name]
    path.write_bytes(proto.SerializeToString(deterministic=True))
    with path.with_name(data_name).open("wb") as file:
        for name, tensor in large.items():
            file.seek(offsets[name])
            for part in _parts(tensor):
                file.write(part)
    return [path.name, data_name]


def _offsets(tensors: dict[str, ir.TensorProtocol]) -> dict[str, int]:
    offsets: dict[str, int] = {}
    end = 0
    for name, tensor in tensors.items():
        alignment = 4096 if tensor.nbytes >= 1 << 20 else 64
        offsets[name] = -(-end // alignment) * alignment
        end = offsets[name] + tensor.nbytes
    return offsets


def _write_one(file: BinaryIO, proto, tensors: dict[str, ir.TensorProtocol]) -> None:
    """Writes a model whose large initializers are described in `proto` as external data."""
    from onnx import TensorProto

    described = {entry.name: entry for entry in proto.graph.initializer if entry.name in tensors}
    headers: dict[str, bytes] = {}
    for name, entry in described.items():
        header = TensorProto(dims=entry.dims, data_type=entry.data_type, name=name)
        headers[name] = header.SerializeToString(deterministic=True)
    small = [entry for entry in proto.graph.initializer if entry.name not in tensors]
    kept = [TensorProto.FromString(entry.SerializeToString()) for entry in small]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    # Field 9 of TensorProto is raw_data, field 5 of GraphProto initializer, 7 of ModelProto graph.
    fields: list[tuple[str, bytes]] = []
    length = len(graph)
    for name, header in headers.items():
        raw = tensors[name].nbytes
        opening = header + _tag(9, raw)
        field = _tag(5, len(opening) + raw) + opening
        fields.append((name, field))
        length += len(field) + raw
    file.write(proto.SerializeToString(deterministic=True))
    file.write(_tag(7, length))
    file.write(graph)
    for name, field in fields:
        file.write(field)
        for part in _parts(tensors[name]):
            file.write(part)


def _tag(number: int, length: int) -> bytes:
    """The opening of a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(length)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parts(tensor: ir.TensorProtocol) -> Iterator[bytes | memoryview]:
    """The little-endian bytes of a tensor, in parts, without a copy where that is possible."""
    array = tensor.numpy()
    if array.nbytes != tensor.nbytes or not array.flags.c_contiguous:
        # Packed types, and weights that are views of others.
        yield tensor.tobytes()
        return
    flat = array.reshape(-1).view(np.uint8)
    for start in range(0, flat.size, _CHUNK):
        yield flat[start : start + _CHUNK].data
