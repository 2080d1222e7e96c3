"""Archives of torch.save that are damaged, or that would do more than hold weights."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from good import Case, Small, tiny
from transformers import BertForMaskedLM


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.evidence}'",)


def cases(folder: Path, evidence: Path) -> Iterator[Case]:
    """A name and a request for each."""
    model = BertForMaskedLM(tiny())
    model.config.save_pretrained(folder)
    whole = _bytes(model.state_dict())
    for name, content in {
        **_damaged(whole),
        **_hostile(evidence),
        **_bombs(),
        **_old(model.state_dict(), evidence),
    }.items():
        path = folder / f"{name}.pth"
        path.write_bytes(content)
        yield (
            f"pickle: {name}",
            {
                "source": str(path),
                "modelType": "bert",
                "config": str(folder / "config.json"),
            },
        )
    torch.save(Small(), folder / "trusted.pth")
    yield (
        "pickle: a trusted module of an unknown kind",
        {
            "source": str(folder / "trusted.pth"),
            "trustPickle": True,
            "modelType": "bert",
            "config": str(folder / "config.json"),
        },
    )


def _bytes(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def _damaged(whole: bytes) -> dict[str, bytes]:
    def rewritten(change: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
            for entry in old.infolist():
                for name, data in change(entry.filename, old.read(entry)):
                    new.writestr(name, data, **options)
        return stream.getvalue()

    def shortened(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(name, data[:-4] if name.endswith("data/0") else data)]

    def without(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [] if name.endswith("data/0") else [(name, data)]

    def scrambled(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(name, data[: len(data) // 2] if name.endswith("data.pkl") else data)]

    return {
        "cut in half": whole[: len(whole) // 2],
        "without its end": whole[:-10],
        "a shortened storage": rewritten(shortened),
        "a missing storage": rewritten(without),
        "half of its program": rewritten(scrambled),
        "compressed": rewritten(
            lambda name, data: [(name, data)], compress_type=zipfile.ZIP_DEFLATED
        ),
        "a name twice": rewritten(
            lambda name, data: [(name, data)] * (2 if name.endswith("data/0") else 1)
        ),
    }


def _hostile(evidence: Path) -> dict[str, bytes]:
    return {
        "a command": _bytes({"weight": torch.zeros(2), "x": Command(evidence)}),
        "a command by a newer protocol": _bytes(
            {"weight": torch.zeros(2), "x": Command(evidence)}, pickle_protocol=4
        ),
        "a whole module": _bytes(Small()),
        "a NumPy scalar": _bytes({"weight": torch.zeros(2), "best": np.float64(0.5)}),
        "a number": _bytes(5),
        "no tensors": _bytes({"epoch": 5}),
        "a sparse tensor": _bytes({"weight": torch.eye(4).to_sparse()}),
        "a quantized tensor": _bytes(
            {"weight": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)}
        ),
    }


def _program(code: bytes) -> bytes:
    """An archive with that pickle and one storage of four floats."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + code + b".")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(16))
    return stream.getvalue()


def _bombs() -> dict[str, bytes]:
    def tensor(sizes: list[int], strides: list[int], elements: int = 4) -> bytes:
        def numbers(values: list[int]) -> bytes:
            return b"(" + b"".join(_integer(value) for value in values) + b"t"

        storage = (
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
            + _integer(elements)
            + b"tQ"
        )
        return (
            b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n("
            + storage
            + b"K\0"
            + numbers(sizes)
            + numbers(strides)
            + b"\x89ccollections\nOrderedDict\n)RtRs"
        )

    # A pair of the pair before it, sixty times: one object each, 2^60 to whom hashes it.
    pairs = b"K\1" + _put(0) + b"".join(_get(i) + b"\x86" + _put(i + 1) for i in range(60))
    return {
        "a tensor past its storage": _program(tensor([1 << 40], [1])),
        "a tensor of one element repeated": _program(tensor([1 << 20, 1 << 20], [0, 0])),
        "a storage that claims more": _program(tensor([4], [1], 1 << 45)),
        "negative sizes": _program(tensor([-4], [1])),
        "an allocation": _program(
            b"}X\x01\0\0\0wcbuiltins\nbytearray\n" + _integer(1 << 36) + b"\x85Rs"
        ),
        "lists in lists": _program(b"]" * 100_000 + b"a" * 99_999),
        "a key of exponential cost": _program(b"}" + pairs + b"K\1s"),
        "keys of exponential cost": _program(
            b"ccollections\nOrderedDict\n]](" + pairs + b"K\1ea\x85R"
        ),
        "an empty program": _program(b""),
        "a stack that is empty": _program(b"ta"),
        "a call of a string": _program(b"X\x01\0\0\0a)R"),
    }


def _integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def _put(index: int) -> bytes:
    return b"q" + bytes([index])


def _get(index: int) -> bytes:
    return b"h" + bytes([index])


def _old(state: dict[str, torch.Tensor], evidence: Path) -> dict[str, bytes]:
    """The formats of before version 1.6."""
    legacy = _bytes(state, _use_new_zipfile_serialization=False)
    claiming = legacy.replace(_integer(100 * 32), _integer(1 << 30), 1)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps(Command(evidence), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return {
        "an old file with a command": _bytes(
            {"weight": torch.zeros(2), "x": Command(evidence)},
            _use_new_zipfile_serialization=False,
        ),
        "an old file cut short": legacy[:-1000],
        "an old file that claims more": claiming,
        "a very old file": stream.getvalue(),
    }
