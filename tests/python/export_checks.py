"""Checks of the exporter on small models: one line of JSON for each, `name` and `failure` or null.

    python export_checks.py SCRATCH_FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
_ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(_ROOT / "python"), str(_ROOT / "fixtures")]

from exporting import compare  # noqa: E402
from exporting import inputs  # noqa: E402
import onnx  # noqa: E402
from exporting import onnx_export  # noqa: E402
import torch  # noqa: E402
from child.dialog import Refusal  # noqa: E402
from families import FAMILIES, WITH_PAST, make  # noqa: E402
from listener import Listener  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from checkpoint.sources import LoadedModel  # noqa: E402
from torch import nn  # noqa: E402
from exporting.units import ExportUnit, InputSpec  # noqa: E402
from exporting.wrappers import Positional  # noqa: E402

_FAMILY = {family.name: family for family in FAMILIES}


def _loaded(module: nn.Module, task: str) -> LoadedModel:
    return LoadedModel(
        module=module.requires_grad_(False),
        kind="transformers",
        config=module.config,
        model_type=module.config.model_type,
        architecture=type(module).__name__,
        task=task,
        source="a test",
    )


def _unit(name: str, dynamic: bool = True) -> ExportUnit:
    family = WITH_PAST if name == WITH_PAST.name else _FAMILY[name]
    return inputs.example(_loaded(make(family, 0), family.task), family.task, dynamic, 0)[0]


def _own(module: nn.Module, *shapes: tuple[int | str, ...], **sizes: int) -> ExportUnit:
    """A unit of a module that is written here."""
    specs = [
        InputSpec(f"x{index}", shape, "floats", torch.float32) for index, shape in enumerate(shapes)
    ]
    flat = Positional(module, [spec.name for spec in specs])
    unit = ExportUnit(
        role="model",
        module=flat,
        inputs=tuple(specs),
        output_names=("output",),
        sizes=sizes,
        others=({name: size + 3 for name, size in sizes.items()},),
        dynamic=frozenset(sizes),
    )
    flat(*unit.arguments.values())
    return unit


def _export(
    unit: ExportUnit, path: Path, **options: Any
) -> tuple[onnx_export.Exported, list[str]]:
    listener = Listener()
    options = {"opset": None, "exporter": "auto", "external_data": "auto", **options}
    return onnx_export.export(unit, path, dialog=listener, **options), listener.warnings


def _verdict(unit: ExportUnit, path: Path) -> dict[str, Any]:
    return compare.compare(unit, path, 1e-4, 5, Listener())


def tied_weights_once(folder: Path) -> None:
    """The embedding of GPT-2 is its head too."""
    path = folder / "tied.onnx"
    _export(_unit("gpt2"), path)
    shapes = [tuple(entry.dims) for entry in onnx.load(path).graph.initializer]
    assert shapes.count((120, 32)) + shapes.count((32, 120)) == 1, shapes
    names = {entry.name for entry in onnx.load(path).graph.initializer}
    assert "transformer.wte.weight" in names or "lm_head.weight" in names, sorted(names)[:5]


def equal_weights_once(folder: Path) -> None:
    """Two layers with equal weights, which are not one tensor; and a third that differs late."""

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(64, 64, bias=False) for _ in range(3))
            self.b.weight.data = self.a.weight.data.clone()
            self.c.weight.data = self.a.weight.data.clone()
            self.c.weight.data[-1, -1] += 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x).relu()).relu())

    path = folder / "equal.onnx"
    exported, _ = _export(_own(Three().eval(), ("batch_size", 64), batch_size=2), path)
    large = [entry for entry in onnx.load(path).graph.initializer if len(entry.dims) == 2]
    assert len(large) == 2, [entry.name for entry in large]
    verdict = _verdict(exported.unit, path)
    assert verdict["passed"], verdict


def external_data(folder: Path) -> None:
    """The same weights in one file and in two, and files that ONNX Runtime reads."""
    unit = _unit("bert")
    one, _ = _export(unit, folder / "one.onnx", external_data="never")
    two, _ = _export(unit, folder / "two.onnx", external_data="always")
    assert one.files == ("one.onnx",) and two.files == ("two.onnx", "two.onnx.data"), two.files
    onnx.checker.check_model(str(folder / "one.onnx"), full_check=True)
    onnx.checker.check_model(str(folder / "two.onnx"), full_check=True)
    assert (folder / "two.onnx").stat().st_size < (folder / "one.onnx").stat().st_size
    first, second = (
        {
            entry.name: numpy_helper.to_array(entry).tobytes()
            for entry in onnx.load(folder / name).graph.initializer
        }
        for name in ("one.onnx", "two.onnx")
    )
    assert first == second
    assert _verdict(two.unit, folder / "two.onnx")["passed"]


def opsets(folder: Path) -> None:
    """Every opset that is offered gives a file of that opset that computes the same."""
    for opset in (18, 20, 21, 23):
        path = folder / f"opset-{opset}.onnx"
        exported, _ = _export(_unit("bert"), path, opset=opset)
        assert exported.opset == opset, (opset, exported.opset)
        imports = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
        assert imports[""] == opset, imports
        verdict = _verdict(exported.unit, path)
        assert verdict["passed"], (opset, verdict["failures"])


def refused_opset(folder: Path) -> None:
    """An opset that no exporter writes is refused with the range."""
    for opset in (3, 99):
        try:
            _export(_unit("bert"), folder / "refused.onnx", opset=opset)
        except Refusal as refusal:
            assert refusal.kind == "input" and "9 to 23" in refusal.message, refusal.message
        else:
            raise AssertionError(f"opset {opset} was taken")
    assert not (folder / "refused.onnx").exists()


def torchscript(folder: Path) -> None:
    """The older exporter, asked for, in both forms; its files share weights too."""
    for name in ("bert", "gpt2-with-past", "resnet"):
        path = folder / f"torchscript-{name}.onnx"
        exported, _ = _export(_unit(name), path, exporter="torchscript")
        assert exported.exporter == "torchscript"
        verdict = _verdict(exported.unit, path)
        assert verdict["passed"], (name, verdict["failures"])


def no_origin(folder: Path) -> None:
    """Nothing in a file tells where and by what code it was made."""
    for exporter in ("dynamo", "torchscript"):
        path = folder / f"origin-{exporter}.onnx"
        _export(_unit("bert"), path, exporter=exporter)
        model = onnx.load(path)
        assert not model.metadata_props and not model.doc_string and not model.graph.doc_string
        for node in model.graph.node:
            assert not node.doc_string and not node.metadata_props, node.name
        data = path.read_bytes()
        for trace in (b".py", b"site-packages", b"torch.nn", b"/home", str(folder).encode()):
            assert trace not in data, trace


def unused_input(folder: Path) -> None:
    """An argument that nothing depends on is no input of the file."""

    class First(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x * 2

    path = folder / "unused.onnx"
    unit = _own(First(), ("batch_size", 3), ("batch_size", 4), batch_size=2)
    exported, _ = _export(unit, path)
    assert [entry["name"] for entry in exported.inputs] == ["x0"], exported.inputs
    assert _verdict(exported.unit, path)["passed"]


def fixed_dimension(folder: Path) -> None:
    """A dimension that the model's code fixes is told, not silently fixed."""

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[1] != 7:
                raise ValueError("seven columns only")
            return x + 1

    path = folder / "fixed.onnx"
    unit = _own(Fixed(), ("batch_size", "columns"), batch_size=2, columns=7)
    exported, warnings = _export(unit, path, exporter="dynamo")
    assert exported.inputs[0]["shape"] == ["batch_size", 7], exported.inputs
    assert any('"columns" of "x0" is 7' in warning for warning in warnings), warnings


def refused_module(folder: Path) -> None:
    """What no exporter can trace is refused by the name of the module."""

    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(x.numpy() * 2)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(self.inner(x)).real

    try:
        _export(_own(Outer().eval(), (3, 3)), folder / "module.onnx")
    except Refusal as refusal:
        message = refusal.message
        assert message.startswith('Cannot export "Outer"') and '"inner" (Inner)' in message, message
        assert "Traceback" not in message and ".py" not in message, message
    else:
        raise AssertionError("it was exported")
    assert not (folder / "module.onnx").exists()


def wrong_results(folder: Path) -> None:
    """A file that computes something else, NaN, another name or nothing fails the comparison."""
    unit = _unit("vit")
    path = folder / "wrong.onnx"
    exported, _ = _export(unit, path)
    assert _verdict(exported.unit, path)["passed"]
    model = onnx.load(path)
    whole = model.SerializeToString()
    weight = max(model.graph.initializer, key=lambda entry: len(entry.raw_data))
    values = numpy_helper.to_array(weight).copy()
    for factor, word in ((1.001, "maximum absolute error"), (float("nan"), "NaN")):
        weight.raw_data = (values * factor).astype(values.dtype).tobytes()
        onnx.save(model, path)
        verdict = _verdict(exported.unit, path)
        assert not verdict["passed"] and word in verdict["failures"][0], verdict["failures"]
    path.write_bytes(whole[: len(whole) // 2])
    verdict = _verdict(exported.unit, path)
    assert not verdict["passed"] and "can't load" in verdict["failures"][0], verdict
    model = onnx.ModelProto.FromString(whole)
    del model.graph.output[1]
    onnx.save(model, path)
    verdict = _verdict(exported.unit, path)
    assert not verdict["passed"] and "outputs are" in verdict["failures"][0], verdict


def small_outputs(folder: Path) -> None:
    """Outputs far below the tolerance still have to be right."""

    class Faint(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    right = _own(Faint(1e-9), ("batch_size", 8), batch_size=2)
    wrong = _own(Faint(2e-9), ("batch_size", 8), batch_size=2)
    path = folder / "faint.onnx"
    _export(right, path)
    assert _verdict(right, path)["passed"]
    assert not _verdict(wrong, path)["passed"]


def cache_of_any_length(folder: Path) -> None:
    """A prompt with an empty cache and then tokens one by one give what the whole text gives."""
    import onnxruntime

    unit = _unit(WITH_PAST.name)
    path = folder / "past.onnx"
    exported, _ = _export(unit, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tokens = torch.randint(2, 117, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = unit.module.model(input_ids=tokens).logits
    past = {
        name: torch.zeros(2, 4, 0, 8).numpy()
        for name in exported.unit.file_inputs
        if name.startswith("past_key_values")
    }
    logits = []
    for start, end in ((0, 6), (6, 7), (7, 8), (8, 9)):
        feed = {
            "input_ids": tokens[:, start:end].numpy(),
            "attention_mask": torch.ones(2, end, dtype=torch.int64).numpy(),
            "position_ids": torch.arange(start, end).expand(2, -1).contiguous().numpy(),
            **past,
        }
        answer = dict(zip(exported.unit.output_names, session.run(None, feed), strict=True))
        logits.append(torch.from_numpy(answer["logits"]))
        past = {name: answer[name.replace("past_key_values", "present")] for name in past}
    error = (torch.cat(logits, 1) - wanted).abs().max().item()
    assert error < 1e-4, error


def no_inputs_found(folder: Path) -> None:
    """A model that accepts nothing is refused with its own words."""
    family = _FAMILY["bert"]
    loaded = _loaded(make(family, 0), "base")
    loaded.module.embeddings.word_embeddings = nn.Identity()
    loaded.module.embeddings.forward = lambda **_: (_ for _ in ()).throw(ValueError("no such text"))
    try:
        inputs.example(loaded, "base", True, 0)
    except Refusal as refusal:
        assert refusal.kind == "input" and "no such text" in refusal.message, refusal.message
    else:
        raise AssertionError("inputs were found")


def no_cache(folder: Path) -> None:
    """A model without a cache, or with a state that is none, is told from one with."""
    for name in ("bert", "vit"):
        family = _FAMILY[name]
        try:
            inputs.example(_loaded(make(family, 0), family.task), "causal-lm-with-past", True, 0)
        except Refusal as refusal:
            assert "KV cache" in refusal.message, refusal.message
        else:
            raise AssertionError(f"{name} was taken")


_CHECKS: tuple[Callable[[Path], None], ...] = (
    tied_weights_once,
    equal_weights_once,
    external_data,
    opsets,
    refused_opset,
    torchscript,
    no_origin,
    unused_input,
    fixed_dimension,
    refused_module,
    wrong_results,
    small_outputs,
    cache_of_any_length,
    no_inputs_found,
    no_cache,
)


def main(folder: Path, wanted: list[str]) -> None:
    """Runs the checks, or those that are named."""
    for check in _CHECKS:
        if wanted and check.__name__ not in wanted:
            continue
        failure = None
        try:
            check(folder)
        except Exception:
            failure = traceback.format_exc()[-1500:]
        print(json.dumps({"name": check.__name__, "failure": failure}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
