"""Damaged and foreign files, damaged safetensors, and folders whose files do not go together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from good import Case, tiny
from safetensors.torch import save_file
from transformers import BertForMaskedLM


def cases(folder: Path, _evidence: Path) -> Iterator[Case]:
    """A name and a request for each."""
    good = folder / "good"
    torch.manual_seed(0)
    BertForMaskedLM(tiny()).save_pretrained(good, max_shard_size="60KB")
    config = str(good / "config.json")
    yield "nothing there", {"source": str(folder / "absent")}
    yield from _foreign(folder, config)
    yield from _safetensors(folder, config)
    yield from _shards(folder, good)
    yield from _weights(folder, good)


def _foreign(folder: Path, config: str) -> Iterator[Case]:
    beginnings = {
        "an empty file": b"",
        "noise": bytes(range(7, 250)) * 9,
        "GGUF": b"GGUF\x03\0\0\0" + bytes(64),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
        "gzip": b"\x1f\x8b\x08\0" + bytes(64),
        "ONNX": b"\x08\x0a\x12\x07pytorch" + bytes(64),
        "a plain pickle": b"\x80\x04}\x94.",
    }
    for name, content in beginnings.items():
        path = folder / f"{name}.bin"
        path.write_bytes(content)
        yield name, {"source": str(path), "modelType": "bert", "config": config}
    for name in ("model.gguf", "tf_model.h5", "flax_model.msgpack", "adapter_model.safetensors"):
        inner = folder / f"only {name}"
        inner.mkdir()
        shutil.copy(config, inner)
        (inner / name).write_bytes(b"1")
        yield f"a folder with only {name}", {"source": str(inner)}
    inner = folder / "diffusers"
    inner.mkdir()
    (inner / "model_index.json").write_text("{}")
    yield "a diffusers pipeline", {"source": str(inner)}
    inner = folder / "empty folder"
    inner.mkdir()
    yield "an empty folder", {"source": str(inner)}


def _safetensors(folder: Path, config: str) -> Iterator[Case]:
    def stored(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return (len(text) if length is None else length).to_bytes(8, "little") + text + data

    def tensor(begin: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    contents = {
        "a header that is longer than the file": stored(
            {"a": tensor(0, 4, [1])}, bytes(4), 1 << 50
        ),
        "a header of nothing but length": b"\xff" * 8 + b"{}",
        "a header that is no JSON": stored(b'{"a": ', bytes(4)),
        "a header that nests": stored(b'{"a":' + b"[" * 50_000, bytes(4)),
        "a header that is a list": stored(b"{}"[:0] + b"[1]      "),
        "a name twice": stored(
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
            b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "overlapping tensors": stored({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
        "a gap between tensors": stored(
            {"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12)
        ),
        "offsets past the end": stored({"a": tensor(0, 1 << 40, [1 << 38])}, bytes(4)),
        "an unknown dtype": stored({"a": tensor(0, 4, [1], "F33")}, bytes(4)),
        "sizes that disagree": stored({"a": tensor(0, 4, [1 << 62, 4])}, bytes(4)),
        "a negative size": stored({"a": tensor(0, 4, [-1])}, bytes(4)),
        "bytes after the last tensor": stored({"a": tensor(0, 4, [1])}, bytes(9)),
        "8-bit floats": stored({"a": tensor(0, 4, [4], "F8_E4M3")}, bytes(4)),
        "no tensors at all": stored({}),
    }
    for name, content in contents.items():
        path = folder / f"{name}.safetensors"
        path.write_bytes(content)
        yield f"safetensors: {name}", {"source": str(path), "modelType": "bert", "config": config}


def _shards(folder: Path, good: Path) -> Iterator[Case]:
    index = json.loads((good / "model.safetensors.index.json").read_text())

    def copy(name: str, change: Any = None) -> Path:
        inner = folder / f"shards {name}"
        shutil.copytree(good, inner)
        if change is not None:
            changed = json.loads(json.dumps(index))
            change(changed["weight_map"])
            (inner / "model.safetensors.index.json").write_text(json.dumps(changed))
        return inner

    missing = copy("missing")
    for shard in sorted(missing.glob("model-*.safetensors"))[:2]:
        shard.unlink()
    yield "two missing shards", {"source": str(missing)}
    first = next(iter(index["weight_map"]))
    outside = {
        "a parent folder": "../good/model-00001-of-00002.safetensors",
        "an absolute path": str(good / "model-00001-of-00002.safetensors"),
        "a device": "C:model.safetensors",
    }
    for name, shard in outside.items():
        inner = copy(name, lambda weights, shard=shard: weights.update({first: shard}))
        yield f"a shard in {name}", {"source": str(inner)}
    inner = copy("strange", lambda weights: weights.update({"strange.weight": weights[first]}))
    yield "a shard that lacks a tensor", {"source": str(inner)}
    inner = copy("no map")
    (inner / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    yield "an index without a map", {"source": str(inner)}
    inner = copy("no index")
    (inner / "model.safetensors.index.json").unlink()
    yield "shards without an index", {"source": str(inner)}
    inner = copy("cut")
    shard = sorted(inner.glob("model-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    yield "a shard that was cut short", {"source": str(inner)}


def _weights(folder: Path, good: Path) -> Iterator[Case]:
    state = BertForMaskedLM(tiny()).state_dict()
    config = str(good / "config.json")

    def saved(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        path = folder / f"{name}.safetensors"
        save_file({key: value.clone() for key, value in tensors.items()}, path)
        return {"source": str(path), "modelType": "bert", "config": config}

    layer = "bert.encoder.layer.1."
    yield (
        "missing weights",
        saved("missing", {key: value for key, value in state.items() if not key.startswith(layer)}),
    )
    extra = {key.replace(layer, "bert.encoder.layer.2."): value for key, value in state.items()}
    yield "weights of a third layer", saved("third", {**state, **extra})
    yield (
        "weights of other shapes",
        saved(
            "shapes",
            {key: value[..., :-1] if value.ndim else value for key, value in state.items()},
        ),
    )
    yield "weights of another model", saved("other", {"conv1.weight": torch.zeros(4, 3, 3, 3)})
    yield "a head that is not there", {**saved("head", state), "task": "classification"}
    yield "a task that the model has not", {**saved("task", state), "task": "ctc"}
    yield "no configuration", {**saved("nothing", state), "config": None}
    yield (
        "no configuration and no type",
        {**saved("none", state), "config": None, "modelType": None},
    )
    yield "another type than the configuration's", {**saved("type", state), "modelType": "roberta"}
    inner = folder / "several"
    inner.mkdir()
    shutil.copy(config, inner)
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"a": torch.zeros(1)}, inner / name)
    yield "several checkpoints", {"source": str(inner)}
    inner = folder / "none"
    inner.mkdir()
    shutil.copy(config, inner)
    yield "a folder without weights", {"source": str(inner)}
    yield "a timm name that is none", {**saved("timm", state), "modelType": "timm/resnet19"}
    yield "a timm name on the hub", {**saved("hub", state), "modelType": "timm/hf-hub:a/b"}
    yield (
        "a timm name of another model",
        {
            **saved("resnet", state),
            "config": None,
            "modelType": "timm/resnet18",
        },
    )
