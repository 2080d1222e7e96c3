"""Checks the header of a safetensors file before anything is allocated for it.

The format (huggingface.co/docs/safetensors): a little-endian u64 with the length of the header, a
JSON object `name -> {dtype, shape, data_offsets}` and the data, which the tensors fill without
gaps or overlaps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child.dialog import Refusal
from checkpoint.file_formats import clip, reason, refuse_file

_LENGTH_BYTES = 8
# The format's own limit.
_MAXIMUM_HEADER_BYTES = 100_000_000
_MAXIMUM_RANK = 64
_DAMAGED = "Download or save it again."

# Bits of an element.
_DTYPE_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


@dataclass(frozen=True)
class StoredTensor:
    """One entry of a header; `begin` and `end` count from the first byte after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of the safetensors file at `path` by name, all within the file.

    Raises `Refusal` where the header is damaged or says what can't be.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAXIMUM_HEADER_BYTES):
                raise refuse_file(
                    path,
                    f"its header claims {length} bytes and the file has {size}",
                    f"It is damaged or cut short. {_DAMAGED}",
                )
            text = file.read(length)
    except OSError as error:
        raise Refusal("input", f'Cannot read "{path}": {reason(error)}.') from error
    header = _parse(path, text)
    tensors = {
        name: _entry(path, name, entry) for name, entry in header.items() if name != "__metadata__"
    }
    _check_layout(path, tensors, size - _LENGTH_BYTES - length)
    return tensors


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name appears twice")
        return result

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        state = (
            "a name appears twice in its header"
            if "twice" in str(error)
            else ("its header is not valid JSON")
        )
        raise refuse_file(path, state, f"It is damaged. {_DAMAGED}") from error
    if not isinstance(header, dict):
        raise refuse_file(path, "its header is not a JSON object", f"It is damaged. {_DAMAGED}")
    return header


def _entry(path: Path, name: str, entry: Any) -> StoredTensor:
    def refuse(state: str) -> Refusal:
        return refuse_file(path, f'tensor "{clip(name)}" {state}', f"It is damaged. {_DAMAGED}")

    if not isinstance(entry, dict):
        raise refuse("has no description")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPE_BITS:
        raise refuse(f'has the unknown dtype "{clip(dtype, 40)}"')
    if (
        not isinstance(shape, list)
        or len(shape) > _MAXIMUM_RANK
        or not all(type(extent) is int and extent >= 0 for extent in shape)
    ):
        raise refuse("has a shape that is not a list of sizes")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int for offset in offsets)
        or not 0 <= offsets[0] <= offsets[1]
    ):
        raise refuse("has offsets that are not a range")
    elements = 1
    for extent in shape:
        elements *= extent
    begin, end = offsets
    if elements * _DTYPE_BITS[dtype] != (end - begin) * 8:
        raise refuse(
            f"claims {elements} elements of {dtype} and {end - begin} bytes, which do not agree"
        )
    return StoredTensor(dtype, tuple(shape), begin, end)


def _check_layout(path: Path, tensors: dict[str, StoredTensor], data_bytes: int) -> None:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.end > data_bytes:
            raise refuse_file(
                path,
                f'tensor "{clip(name)}" ends at byte {tensor.end} of the data and there are '
                f"{data_bytes}",
                f"It is cut short. {_DAMAGED}",
            )
        if tensor.begin != position:
            state = "overlaps the one before it" if tensor.begin < position else "follows a gap"
            raise refuse_file(path, f'tensor "{clip(name)}" {state}', f"It is damaged. {_DAMAGED}")
        position = tensor.end
    if position != data_bytes:
        raise refuse_file(
            path,
            f"{data_bytes - position} bytes follow the last tensor",
            f"It is damaged. {_DAMAGED}",
        )
