"""Programs of torch.export and TorchScript that are damaged or would do more than compute."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bad_pickles import Command
from good import Case, Small

Change = Callable[[str, bytes], list[tuple[str, bytes]]]


def cases(folder: Path, evidence: Path) -> Iterator[Case]:
    """A name and a request for each."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Small().eval(), (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: batch},)
    )
    stream = io.BytesIO()
    torch.export.save(program, stream)
    whole = stream.getvalue()
    touch = f"__import__('os').system('touch {evidence}')"
    for name, change in _changes(touch, evidence).items():
        path = folder / f"{name}.pt2"
        path.write_bytes(_rewritten(whole, change))
        yield f"program: {name}", {"source": str(path)}
    path = folder / "cut.pt2"
    path.write_bytes(whole[: len(whole) // 2])
    yield "program: cut in half", {"source": str(path)}
    path = folder / "task.pt2"
    path.write_bytes(whole)
    yield "program: with a task", {"source": str(path), "task": "causal-lm"}
    yield from _scripts(folder, evidence)


def _rewritten(whole: bytes, change: Change) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            for name, data in change(entry.filename, old.read(entry)):
                new.writestr(name, data)
    return stream.getvalue()


def _changes(touch: str, evidence: Path) -> dict[str, Change]:
    def model(edit: Callable[[Any], None]) -> Change:
        return _in_json("models/model.json", edit)

    def expression(text: str) -> Change:
        def edit(value: Any) -> None:
            for found in _all(value, "as_expr"):
                found["expr_str"] = text

        return model(edit)

    def target(text: str) -> Change:
        return model(lambda value: _nodes(value)[0].update({"target": text}))

    def structure(text: str) -> Change:
        def edit(value: Any) -> None:
            for signature in _all(value, "signature"):
                if isinstance(signature, dict) and "in_spec" in signature:
                    signature["in_spec"] = text

        return model(edit)

    def weights(edit: Callable[[Any], None]) -> Change:
        return _in_json("data/weights/model_weights_config.json", edit)

    def replaced(ending: str, data: bytes) -> Change:
        return lambda name, old: [(name, data if name.endswith(ending) else old)]

    def pickled(name: str, old: bytes) -> list[tuple[str, bytes]]:
        if name.endswith("weight_0"):
            return [(name, _saved(Command(evidence)))]
        if name.endswith("model_weights_config.json"):
            config = json.loads(old)
            first = next(iter(config["config"].values()))
            first["use_pickle"] = True
            return [(name, json.dumps(config).encode())]
        return [(name, old)]

    def larger(value: Any) -> None:
        meta = next(iter(value["config"].values()))["tensor_meta"]
        meta["sizes"] = [{"as_int": 1 << 40}]
        meta["strides"] = [{"as_int": 0}]

    def opaque(name: str, old: bytes) -> list[tuple[str, bytes]]:
        if not name.endswith("model_constants_config.json"):
            return [(name, old)]
        payload = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }
        folder = name.rpartition("/")[0]
        return [
            (name, json.dumps({"config": {"object": payload}}).encode()),
            (f"{folder}/opaque_obj_0", pickle.dumps(Command(evidence))),
        ]

    def compiled(name: str, old: bytes) -> list[tuple[str, bytes]]:
        more = [("archive/data/aotinductor/model/model.so", b"\x7fELF")]
        return [(name, old), *(more if name.endswith("archive_format") else [])]

    leaf = {"type": None, "context": None, "children_spec": []}
    enum = {
        "type": "builtins.dict",
        "context": json.dumps([{"__enum__": True, "fqn": "antigravity:X", "name": "x"}]),
        "children_spec": [leaf],
    }
    return {
        "code as a size": expression(touch),
        "an attribute as a size": expression("Symbol('s0').__class__"),
        "a power as a size": expression("Pow(Integer(10), Integer(10000000))"),
        "powers of powers as a size": expression("Pow(" * 30 + "Integer(9)" + ", Integer(9))" * 30),
        "a lambda as a size": expression("(lambda: 1)()"),
        "a system call": target("torch.os.system"),
        "a download": target("torch.hub.load"),
        "an operator that opens files": target("torch.ops.aten.from_file.default"),
        "a foreign operator": target("torch.ops.evil.run.default"),
        "a registered class": structure(json.dumps([1, {**enum, "type": "evil.Class"}])),
        "an enumeration that imports": structure(json.dumps([1, enum])),
        "a name that is code": model(lambda value: _nodes(value)[0].update({"name": "x);os"})),
        "an object as an argument": model(
            lambda value: _nodes(value)[0]["inputs"][0].update(
                {"arg": {"as_custom_obj": {"name": "x", "class_fqn": "y"}}}
            )
        ),
        "a pickled weight": pickled,
        "a pickled constant": opaque,
        "a pickled example": replaced("sample_inputs/model.pt", _saved(Command(evidence))),
        "a weight that claims more": weights(larger),
        "compiled code": compiled,
        "no graph": replaced("models/model.json", b"{}"),
        "broken JSON": replaced("models/model.json", b"{"),
    }


def _in_json(ending: str, edit: Callable[[Any], None]) -> Change:
    def change(name: str, old: bytes) -> list[tuple[str, bytes]]:
        if not name.endswith(ending):
            return [(name, old)]
        value = json.loads(old)
        edit(value)
        return [(name, json.dumps(value).encode())]

    return change


def _nodes(value: Any) -> list[Any]:
    return value["graph_module"]["graph"]["nodes"]


def _all(value: Any, key: str) -> Iterator[Any]:
    """Everything that lies under `key`, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from _all(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _all(inner, key)


def _saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _scripts(folder: Path, evidence: Path) -> Iterator[Case]:
    class Saving(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "written")
            return x

    class Reading(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/passwd", False, 4)

    for name, module in (("saves a tensor", Saving()), ("reads a file", Reading())):
        path = folder / f"{name}.pt"
        torch.jit.save(torch.jit.script(module), str(path))
        yield f"TorchScript: {name}", {"source": str(path)}
    path = folder / "good.pt"
    torch.jit.save(torch.jit.script(Small().eval()), str(path))
    whole = path.read_bytes()
    for name, content in {
        "cut in half": whole[: len(whole) // 2],
        "other code": _rewritten(
            whole,
            lambda name, old: [(name, b"import os\n" if name.endswith("good.py") else old)],
        ),
        "a bomb as code": _bomb(whole),
    }.items():
        path = folder / f"{name}.pt"
        path.write_bytes(content)
        yield f"TorchScript: {name}", {"source": str(path)}


def _bomb(whole: bytes) -> bytes:
    """Code that unpacks to a thousand times its size."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("good/code/more.py", bytes(300 << 20), zipfile.ZIP_DEFLATED)
    return stream.getvalue()
