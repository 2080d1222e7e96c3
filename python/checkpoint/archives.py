"""Checks the archives of torch.save before PyTorch reads them: sizes, and the pickles within.

A zip can claim more than it has, name a file twice or unpack to a thousand times its size; the
format of before version 1.6 states how much to allocate ahead of the data. What the archive refers
to is compared with what the file really holds.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from checkpoint.file_formats import clip, refuse_file, zip_entries
from checkpoint.pickles import MAXIMUM_PICKLE_BYTES, inspect_bytes, inspect_stream

# Bytes that the compressed entries of an archive (the code of TorchScript) may unpack to.
_MAXIMUM_UNPACKED_BYTES = 256 * 2**20
_DAMAGED = "It is damaged: download or save it again."


def check_torch_zip(path: Path, stream: BinaryIO | None = None) -> None:
    """Raises `Refusal` unless what torch.save wrote to `path` can be loaded without harm.

    `stream` holds the archive where it lies within the file at `path`.
    """
    entries = zip_entries(path, stream)
    size = path.stat().st_size if stream is None else stream.seek(0, 2)
    check_zip_sizes(path, entries, size, compressed=False)
    sizes = {entry.filename: entry.file_size for entry in entries}
    program = next((name for name in sizes if name.rsplit("/", 1)[-1] == "data.pkl"), None)
    if program is None:
        raise refuse_file(path, "a zip within it was not written by torch.save", _DAMAGED)
    root = program[: -len("data.pkl")]
    inspection = inspect_bytes(path, read_entry(path, program, sizes[program], stream))
    for key, needed in inspection.storages.items():
        stored = sizes.get(f"{root}data/{key}")
        if stored is None:
            raise refuse_file(path, f'its storage "{clip(key, 40)}" is missing', _DAMAGED)
        if stored != needed:
            raise refuse_file(
                path,
                f'its storage "{clip(key, 40)}" claims {needed} bytes and has {stored}',
                _DAMAGED,
            )


def check_torch_legacy(path: Path) -> None:
    """The same for what torch.save wrote until version 1.6: pickles and then the storages."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(3):
            inspect_stream(path, file)
        storages = inspect_stream(path, file).storages
        inspect_stream(path, file)
        # Each storage is a count of 8 bytes and its elements.
        needed = sum(8 + count for count in storages.values())
        left = size - file.tell()
        if needed > left:
            raise refuse_file(
                path,
                f"its storages claim {needed} bytes and it has {left} for them",
                "It is damaged or cut short: download or save it again.",
            )


def check_zip_sizes(
    path: Path, entries: list[zipfile.ZipInfo], size: int, *, compressed: bool
) -> None:
    """Raises `Refusal` where the entries would unpack to more than the `size` of the archive.

    `compressed` says whether some of them (code, not weights) may be compressed.
    """
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise refuse_file(path, "its directory names a file twice", _DAMAGED)
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    unpacked = sum(entry.file_size for entry in packed)
    if packed and not compressed:
        raise refuse_file(
            path,
            f'its entry "{clip(packed[0].filename, 60)}" is compressed ({unpacked} bytes in all '
            f"from a file of {size}), which torch.save never does",
            "Save it again with torch.save.",
        )
    if unpacked > _MAXIMUM_UNPACKED_BYTES:
        raise refuse_file(
            path, f"its compressed entries unpack to {unpacked} bytes", "It is no honest model."
        )
    stored = sum(entry.file_size for entry in entries) - unpacked
    if stored > size or sum(entry.compress_size for entry in entries) > size:
        raise refuse_file(
            path, f"its entries claim {stored} bytes and the file has {size}", _DAMAGED
        )
    for entry in entries:
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise refuse_file(
                path, f'the sizes of "{clip(entry.filename, 60)}" contradict each other', _DAMAGED
            )


def read_entry(path: Path, name: str, size: int, stream: BinaryIO | None = None) -> bytes:
    """The bytes of one entry of a zip. Raises `Refusal` where they are too many or damaged."""
    if size > MAXIMUM_PICKLE_BYTES:
        raise refuse_file(
            path,
            f'its "{clip(name, 60)}" has {size} bytes, more than any list of weights needs',
            "Save the state dict alone.",
        )
    try:
        with zipfile.ZipFile(path if stream is None else stream) as archive:
            return archive.read(name)
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise refuse_file(path, f'its "{clip(name, 60)}" is damaged', _DAMAGED) from error
