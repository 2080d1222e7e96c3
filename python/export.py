"""Exports a PyTorch model to ONNX. One request on standard input, answered in JSON lines.

The request's fields (`dialog` describes the protocol):

    command         "export"
    source          absolute path: a Hugging Face folder, a state dict, TorchScript or a .pt2 file
    modelType       transformers' model type or timm/NAME, or null where the source says it
    config          absolute path of a config.json, or null
    task            "auto" or a task (module `tasks`)
    opset           the ONNX opset, or null for the exporter's default
    dynamic         whether batch and sequence lengths stay open
    exporter        "auto", "dynamo" or "torchscript"
    outputFolder    absolute path of the only folder that is written
    outputName      file name of the model in it
    externalData    "auto", "always" or "never"
    verify          whether to compare with ONNX Runtime
    tolerance       largest absolute error that passes
    seed            of example inputs and random weights
    trustPickle     whether a pickle may run code
    randomWeights   whether to make a model without a checkpoint
    allowHub        whether libraries may reach the network

The value of the result lists the files, their inputs and outputs, and what the comparison measured.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from child.dialog import Dialog, Refusal, serve

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "source": str,
    "modelType": (str, type(None)),
    "config": (str, type(None)),
    "task": str,
    "opset": (int, type(None)),
    "dynamic": bool,
    "exporter": str,
    "outputFolder": str,
    "outputName": str,
    "externalData": str,
    "verify": bool,
    "tolerance": (int, float),
    "seed": int,
    "trustPickle": bool,
    "randomWeights": bool,
    "allowHub": bool,
}


def export(request: dict[str, Any], dialog: Dialog) -> dict[str, Any]:
    """Serves one request. Raises `Refusal` for whatever is wrong with it or with its source."""
    _check(request)
    if not request["allowHub"]:
        # Read when the libraries are imported, which is not before here.
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"
    # Transformers' threads that load weights can meet PyTorch's pool of threads half made, which is an
    # error there ("Invalid thread pool!"), if a rare one.
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    from checkpoint import sources

    loaded = sources.load(request, dialog)
    parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
    dialog.progress("make inputs")
    units = _units(loaded, request)
    from exporting import onnx_export

    files: list[dict[str, str]] = []
    exported = []
    for number, unit in enumerate(units):
        name = _file_name(request["outputName"], unit.role)
        dialog.progress("export", number / len(units))
        result = onnx_export.export(
            unit,
            Path(request["outputFolder"]) / name,
            request["opset"],
            request["exporter"],
            request["externalData"],
            dialog,
        )
        exported.append((name, result))
        files.append({"name": name, "role": unit.role, "of": name})
        files += [{"name": data, "role": "data", "of": name} for data in result.files[1:]]
    verification = _verify(request, exported, dialog) if request["verify"] else None
    exporters = {result.exporter for _, result in exported}
    return {
        "files": files,
        "exporter": "torchscript" if "torchscript" in exporters else "dynamo",
        "opset": max(result.opset for _, result in exported),
        "modelType": loaded.model_type,
        "architecture": loaded.architecture,
        "task": loaded.task,
        "parameters": parameters,
        "inputs": _described(exported, "inputs"),
        "outputs": _described(exported, "outputs"),
        "verification": verification,
    }


def _units(loaded: Any, request: dict[str, Any]) -> Sequence[Any]:
    """What becomes a file each, with example inputs."""
    dynamic, seed = request["dynamic"], request["seed"]
    if loaded.exported_program is not None:
        from exporting import program_inputs

        unit = program_inputs.program_unit(loaded, dynamic, seed)
        if unit is not None:
            return [unit]
    from exporting import inputs

    return inputs.example(loaded, loaded.task, dynamic, seed)


def _check(request: dict[str, Any]) -> None:
    """Raises `ValueError`, which is a bug of the caller, for a request of another form."""
    for name, kinds in _FIELDS.items():
        if name not in request or not isinstance(request[name], kinds):
            raise ValueError(f'the request\'s "{name}" is {request.get(name)!r}')
    name = request["outputName"]
    if not name.endswith(".onnx") or Path(name).name != name:
        raise ValueError(f"outputName is {name!r}")
    if not Path(request["outputFolder"]).is_dir():
        raise Refusal(
            "input",
            f'Cannot write to "{request["outputFolder"]}": there is no such folder. Make it.',
        )


def _file_name(output: str, role: str) -> str:
    """`model.onnx`, or `model.encoder.onnx` and `model.decoder.onnx` for a pair."""
    return output if role == "model" else f"{output.removesuffix('.onnx')}.{role}.onnx"


def _described(exported: list[tuple[str, Any]], side: str) -> list[dict[str, Any]]:
    """Inputs or outputs of all files; with several files each says which one it is of."""
    several = len(exported) > 1
    return [
        {**entry, "file": name} if several else dict(entry)
        for name, result in exported
        for entry in getattr(result, side)
    ]


def _verify(
    request: dict[str, Any], exported: list[tuple[str, Any]], dialog: Dialog
) -> dict[str, Any]:
    """The comparison of every file with the module it was made from."""
    from exporting import compare

    outputs: list[dict[str, Any]] = []
    failures: list[str] = []
    passed = True
    for name, result in exported:
        dialog.progress("verify")
        verdict = compare.compare(
            result.unit,
            Path(request["outputFolder"]) / name,
            float(request["tolerance"]),
            request["seed"],
            dialog,
        )
        passed = passed and verdict["passed"]
        outputs += [{**output, "file": name} for output in verdict["outputs"]]
        failures += verdict["failures"]
    return {
        "passed": passed,
        "tolerance": float(request["tolerance"]),
        "outputs": outputs,
        "failures": failures,
    }


if __name__ == "__main__":
    serve(export)
