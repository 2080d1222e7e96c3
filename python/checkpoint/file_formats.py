"""Tells what a file is by its content, and what to do with the kinds that are not read here.

Only a few bytes are looked at (and the directory of a zip), so that a file of any size is cheap.
"""

from __future__ import annotations

import os
import struct
import zipfile
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from child.dialog import Refusal


class FileFormat(Enum):
    """The formats of PyTorch checkpoints."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "a PyTorch checkpoint"
    TORCH_LEGACY = "a PyTorch checkpoint of before version 1.6"
    TORCH_TAR = "a PyTorch checkpoint of before version 0.1.10"
    TORCHSCRIPT = "TorchScript"
    EXPORTED_PROGRAM = "a torch.export program"


_PEEK_BYTES = 512
_TAR_MAGIC_OFFSET = 257
# What torch.save wrote first until version 1.6: the pickled integer 0x1950a86a20f9469cfc6c.
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")

# Beginnings of files that are something else, with what to do instead.
_FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"GGUF",
        "a GGUF model, whose weights are quantized for llama.cpp",
        "Give the original PyTorch or safetensors checkpoint.",
    ),
    (
        0,
        b"lmgg",
        "a GGML model of llama.cpp",
        "Give the original PyTorch or safetensors checkpoint.",
    ),
    (
        0,
        b"tjgg",
        "a GGML model of llama.cpp",
        "Give the original PyTorch or safetensors checkpoint.",
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras and TensorFlow write them",
        "Give a PyTorch checkpoint of the model, or convert this one with TensorFlow's own tools.",
    ),
    (4, b"TFL3", "a TensorFlow Lite model", "Give a PyTorch checkpoint of the model."),
    (0, b"\x93NUMPY", "a NumPy array", "Give a PyTorch checkpoint."),
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        'Fetch the file with "git lfs pull".',
    ),
    (0, b"<!DOCTYPE", "a web page, probably of a download that failed", "Download it again."),
    (0, b"<html", "a web page, probably of a download that failed", "Download it again."),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it and give the checkpoint inside."),
    (0, b"BZh", "a bzip2 archive", "Unpack it and give the checkpoint inside."),
    (0, b"\xfd7zXZ", "an xz archive", "Unpack it and give the checkpoint inside."),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it and give the checkpoint inside."),
    (0, b"7z\xbc\xaf", "a 7z archive", "Unpack it and give the checkpoint inside."),
    (0, b"Rar!", "a RAR archive", "Unpack it and give the checkpoint inside."),
)


def identify(path: Path) -> FileFormat:
    """The format of the file at `path`. Raises `Refusal` where it is none that is read here."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_PEEK_BYTES)
    except OSError as error:
        raise Refusal("input", f'Cannot read "{path}": {reason(error)}.') from error
    if size == 0:
        raise refuse_file(path, "the file is empty", "Download or save it again.")
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _identify_zip(path)
    if _LEGACY_MAGIC in head[:16]:
        return FileFormat.TORCH_LEGACY
    if head[_TAR_MAGIC_OFFSET : _TAR_MAGIC_OFFSET + 5] == b"ustar":
        return FileFormat.TORCH_TAR
    for offset, magic, what, advice in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise refuse_file(path, f"it is {what}", advice)
    if path.suffix == ".safetensors" or _may_be_safetensors(head, size):
        return FileFormat.SAFETENSORS
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise refuse_file(
            path,
            "it is a Python pickle that torch.save did not write",
            "Load it where it comes from and save its state dict with torch.save or safetensors.",
        )
    if path.suffix == ".onnx" or (head[0] == 0x08 and b"\x12" in head[:16] and _says_onnx(head)):
        raise refuse_file(path, "it is an ONNX model", "Give --source-format onnx.")
    if path.suffix in (".pb", ".msgpack", ".h5", ".keras"):
        raise refuse_file(
            path,
            f'"{path.suffix}" is a format of TensorFlow, Keras or Flax',
            "Give a PyTorch checkpoint of the model.",
        )
    raise refuse_file(
        path,
        "it is neither safetensors nor anything that torch.save, torch.jit.save or "
        "torch.export.save writes",
        "If it was a checkpoint, it is damaged: download or save it again.",
    )


def _identify_zip(path: Path) -> FileFormat:
    """What kind of zip `path` is."""
    names = [entry.filename for entry in zip_entries(path)]
    tails = {name.split("/", 1)[1] if "/" in name else name for name in names}
    if any(name == "archive_format" or name.startswith("models/") for name in tails) or any(
        name.rsplit("/", 1)[-1] == "serialized_exported_program.json" for name in names
    ):
        return FileFormat.EXPORTED_PROGRAM
    if "constants.pkl" in tails and any(name.startswith("code/") for name in tails):
        return FileFormat.TORCHSCRIPT
    if "data.pkl" in tails:
        return FileFormat.TORCH_ZIP
    if any(name.endswith(".h5") for name in names):
        raise refuse_file(path, "it is a Keras model", "Give a PyTorch checkpoint of the model.")
    if names and all(name.endswith(".npy") for name in names):
        raise refuse_file(path, "it holds NumPy arrays", "Give a PyTorch checkpoint.")
    shown = ", ".join(f'"{clip(name, 60)}"' for name in names[:3])
    raise refuse_file(
        path,
        f"it is a zip that PyTorch did not write; it holds {shown or 'nothing'}",
        "Unpack it and give the checkpoint inside.",
    )


def zip_entries(path: Path, stream: BinaryIO | None = None) -> list[zipfile.ZipInfo]:
    """The directory of the zip at `path`, or in `stream`, which lies within the file at `path`.

    Raises `Refusal` where it is damaged.
    """
    try:
        with zipfile.ZipFile(path if stream is None else stream) as archive:
            return archive.infolist()
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        OSError,
        ValueError,
        struct.error,
        NotImplementedError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise refuse_file(
            path,
            "the zip that it consists of is damaged or cut short",
            "Download or save it again.",
        ) from error


def _may_be_safetensors(head: bytes, size: int) -> bool:
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size


def _says_onnx(head: bytes) -> bool:
    return any(word in head for word in (b"pytorch", b"onnx", b"keras2onnx", b"skl2onnx", b"tf2"))


def refuse_file(path: Path | str, state: str, advice: str) -> Refusal:
    """The refusal of a file: `Cannot load "<path>": <state>. <advice>`."""
    return Refusal("input", f'Cannot load "{path}": {state}. {advice}')


def reason(error: OSError) -> str:
    """What went wrong, in words."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def clip(text: object, length: int = 120) -> str:
    """`text` made fit for a message: control characters escaped, cut at `length`."""
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text)[: length + 1])
    return plain if len(plain) <= length else plain[:length] + "..."


def count(number: int, noun: str) -> str:
    """Such as "1 tensor" or "2 tensors"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(names: list[str], most: int = 3) -> str:
    """The first few of `names`, quoted, and how many more there are."""
    shown = ", ".join(f'"{clip(name)}"' for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
