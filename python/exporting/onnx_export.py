"""Exports a unit to an ONNX file.

PyTorch's new exporter goes first (torch.export, then translation); where it fails, the exporter
through TorchScript follows, with a warning that says why. Whatever comes out is brought to one
form: inputs, outputs and dimensions bear the unit's names, weights the checkpoint's; equal weights
are stored once; nothing in the file tells of the machine, the time or the source code that traced
it, so equal requests give equal bytes.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from exporting.capture import repaired
from child.dialog import Dialog, Refusal, is_memory_error
from exporting.graph import describe_values, optimize, polish
from exporting.onnx_file import ExternalData, save
from exporting.units import ExportUnit

if TYPE_CHECKING:
    import onnx_ir as ir

Exporter = Literal["auto", "dynamo", "torchscript"]

DEFAULT_OPSET = 20
"""The newest that both exporters write and that ONNX Runtime 1.22 and OpenVINO 2026 read whole."""
OPSETS = {"dynamo": range(18, 24), "torchscript": range(9, 21)}


@dataclass(frozen=True)
class Exported:
    """A written file."""

    unit: ExportUnit
    """The unit as it was exported: without inputs that the graph does not use, and with numbers for
    names that could not stay names."""
    exporter: Literal["dynamo", "torchscript"]
    opset: int
    files: tuple[str, ...]
    """Names of the files, the model's first."""
    inputs: tuple[dict[str, Any], ...]
    """`name`, `dtype` and `shape` (numbers and names) of every input."""
    outputs: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Attempt:
    """One way to export, and what it is called in a message."""

    exporter: Literal["dynamo", "torchscript"]
    unit: ExportUnit


def export(
    unit: ExportUnit,
    path: str | Path,
    opset: int | None,
    exporter: Exporter,
    external_data: ExternalData,
    dialog: Dialog,
) -> Exported:
    """Exports `unit` to `path`.

    Raises `Refusal` where no exporter can, naming the module and the operator that stopped it.
    """
    path = Path(path)
    wanted = DEFAULT_OPSET if opset is None else opset
    attempts = _attempts(unit, wanted, exporter)
    failures: list[tuple[_Attempt, Exception]] = []
    for attempt in attempts:
        if failures and failures[-1][0].exporter != attempt.exporter:
            why = explain(failures[-1][1], failures[-1][0].unit)
            dialog.warn(f"The new exporter can't export this model ({why}); using TorchScript's.")
        try:
            with _quiet():
                model = _run(attempt, wanted, dialog)
                polished = polish(model, attempt.unit)
        except Refusal:
            raise
        except Exception as error:
            if is_memory_error(error):
                raise
            failures.append((attempt, error))
            gc.collect()
            continue
        specialized = polished.specialized
        if specialized and attempt.unit.yielding and attempt is not attempts[-1]:
            # Sizes of pictures can be given up: better the stated size than the example's.
            failures.append((attempt, ValueError(f"it fixes {', '.join(specialized)}")))
            continue
        if attempt.unit.dynamic < unit.dynamic:
            fixed = ", ".join(
                f"{name} = {attempt.unit.sizes[name]}"
                for name in sorted(unit.dynamic - attempt.unit.dynamic)
            )
            dialog.warn(f"The model can't be traced with open picture sizes: {fixed} in the file.")
        for dimension in specialized:
            dialog.warn(
                f"{dimension} in the file: the model's code depends on its value. "
                "Inputs of another size will not run."
            )
        dialog.progress("write ONNX")
        files = save(model, path, external_data)
        return Exported(
            unit=polished.unit,
            exporter=attempt.exporter,
            opset=model.opset_imports.get("", wanted),
            files=tuple(files),
            inputs=describe_values(model.graph.inputs),
            outputs=describe_values(model.graph.outputs),
        )
    raise _refusal(unit, failures)


def _attempts(unit: ExportUnit, opset: int, exporter: Exporter) -> list[_Attempt]:
    """The ways to try, in order."""
    able: list[Literal["dynamo", "torchscript"]] = ["dynamo", "torchscript"]
    if exporter != "auto":
        able = [exporter]
    if isinstance(unit.module.model, torch.jit.ScriptModule):
        if exporter == "dynamo":
            raise Refusal(
                "input",
                "Cannot export a TorchScript module with the new exporter: it takes modules with "
                "their Python code only. Use --exporter torchscript or auto.",
            )
        able = ["torchscript"]
    ranges = [OPSETS[name] for name in able]
    if not any(opset in allowed for allowed in ranges):
        low, high = min(r.start for r in ranges), max(r.stop for r in ranges) - 1
        raise Refusal(
            "input",
            f'Cannot export with opset {opset}: the exporter "{" or ".join(able)}" writes opset '
            f"{low} to {high}. Choose --opset in this range.",
        )
    units = [unit, unit.yielded()] if unit.yielding else [unit]
    return [
        _Attempt(name, variant) for name in able if opset in OPSETS[name] for variant in units
    ]


def _run(attempt: _Attempt, opset: int, dialog: Dialog) -> ir.Model:
    """The model in memory, as an exporter made it."""
    if attempt.exporter == "dynamo":
        return _dynamo(attempt.unit, opset, dialog)
    return _torchscript(attempt.unit, opset, dialog)


def _dynamo(unit: ExportUnit, opset: int, dialog: Dialog) -> ir.Model:
    axes = tuple(
        {axis: torch.export.Dim.AUTO for axis in named} for named in unit.dynamic_shapes.values()
    )
    arguments = tuple(unit.arguments.values())
    with torch.no_grad(), repaired() as repairs:
        dialog.progress("trace the model")
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            program = torch.export.export(
                unit.module, arguments, dynamic_shapes={"tensors": axes}, strict=False
            )
        repairs.fix_program(program)
        dialog.progress("translate to ONNX")
        onnx_program = torch.onnx.export(
            program,
            input_names=list(unit.input_names),
            output_names=list(unit.output_names),
            opset_version=opset,
            custom_translation_table=repairs.translations,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        dialog.progress("optimize")
        optimize(onnx_program.model)
        repairs.fix_graph(onnx_program)
    return onnx_program.model


def _torchscript(unit: ExportUnit, opset: int, dialog: Dialog) -> ir.Model:
    import onnx
    import onnx_ir as ir

    dialog.progress("trace the model")
    buffer = io.BytesIO()
    module: torch.nn.Module = unit.module
    with torch.no_grad():
        if isinstance(unit.module.model, torch.jit.ScriptModule):
            # The exporter can't follow a call from Python into a script.
            arguments = tuple(unit.arguments.values())
            module = torch.jit.trace(unit.module, arguments, check_trace=False)
        # Without weights: they are put back from where they lie rather than copied.
        torch.onnx.export(
            module,
            tuple(unit.arguments.values()),
            buffer,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
            opset_version=opset,
            input_names=list(unit.input_names),
            output_names=list(unit.output_names),
            dynamic_axes={name: named for name, named in unit.dynamic_shapes.items() if named},
            verbose=False,
        )
    proto = onnx.load_model_from_string(buffer.getvalue())
    model = ir.from_proto(proto)
    weights = dict(unit.module.state_dict(keep_vars=True))
    weights.update(dict(unit.module.named_buffers()))
    names = set(unit.input_names)
    for value in list(model.graph.inputs):
        if value.name in names or value.name not in weights:
            continue
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(weights[value.name].detach(), name=value.name)
        model.graph.initializers[value.name] = value
    dialog.progress("optimize")
    optimize(model)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' own talk out of the log: what matters is told by warnings and errors."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def explain(error: BaseException, unit: ExportUnit) -> str:
    """One clause: what an exporter could not do, and in which module."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    root = next((item for item in chain if "No ONNX function" in str(item)), chain[-1])
    said = str(root).strip().splitlines()
    first = next((line.strip() for line in said if line.strip()), type(root).__name__)
    where = next((place for item in reversed(chain) if (place := _module_of(item, unit))), "")
    return f"{where}{type(root).__name__}: {first[:200]}"


def _module_of(error: BaseException, unit: ExportUnit) -> str:
    """The innermost module of the model in whose code an error arose."""
    names = {id(module): name for name, module in unit.module.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, torch.nn.Module) and id(owner) in names:
            name = names[id(owner)].removeprefix("model").removeprefix(".")
            found = f'in "{name or type(owner).__name__}" ({type(owner).__name__}): '
    return found


def _refusal(unit: ExportUnit, failures: list[tuple[_Attempt, Exception]]) -> Refusal:
    """What stopped the exporters."""
    name = type(unit.module.model).__name__
    said = "; ".join(
        f"{attempt.exporter}: {explain(error, attempt.unit)}" for attempt, error in failures
    )
    tried = {attempt.exporter for attempt, _ in failures}
    hints = []
    if "torchscript" not in tried:
        hints.append("--exporter torchscript")
    if unit.dynamic:
        hints.append("--static")
    hints.append("another --task or --opset")
    return Refusal("input", f'Cannot export "{name}": {said}. Try {", or ".join(hints)}.')
