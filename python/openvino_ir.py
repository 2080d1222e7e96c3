"""Converts an ONNX model to OpenVINO IR: the program that the parent starts.

Request: {"command": "convert", "source": "/abs/model.onnx", "sourceName": "model.onnx" | null,
"outputFolder": "/abs", "outputName": "model.xml",
"compress": null | {"mode": "INT4_ASYM", "groupSize": 32}, "compile": null | "CPU", "verify": bool,
"tolerance": float, "toleranceQuantized": float, "probabilityTolerance": float,
"probabilities": [...], "seed": int, "samples": int, "inputs": [...], "unknowns": [...],
"metadata": {"version": "...", ...}}. `sourceName` is what messages call the source; for what is
verified on see `openvino_check`.

Weights keep their codes and types. The answer names the files written into the output folder, bytes
by element type, the weights, and the verification. `toleranceQuantized` holds where weights were
taken over with their codes, if it is the wider one.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any

from child.dialog import Dialog, Refusal, open_channel, serve

if TYPE_CHECKING:
    from ir.quantized_weights import QuantizedWeight

# A constant's line in an IR.
_CONSTANT = re.compile(
    r'<data element_type="(?P<type>\w+)" shape="(?P<shape>[^"]*)" offset="(?P<offset>\d+)" '
    r'size="(?P<size>\d+)"'
)
_NNCF_MODES = ("INT8_SYM", "INT8_ASYM", "INT4_SYM", "INT4_ASYM")


def convert(request: dict[str, Any], dialog: Dialog) -> dict[str, Any]:
    """Serves the request of this module's description."""
    dialog.progress("load OpenVINO")
    import openvino as ov

    from ir import openvino_check
    from ir import openvino_frontend
    from ir.onnx_preparation import prepare
    from ir.openvino_constants import fill_placeholders
    from ir.quantized_weights import Extraction

    source: str = request["source"]
    called: str = request.get("sourceName") or os.path.basename(source)
    folder: str = request["outputFolder"]
    name: str = request["outputName"]
    if os.path.basename(name) != name or not name.endswith(".xml"):
        raise Refusal("input", f'Cannot write "{name}": the name of an IR ends in ".xml".')
    device: str | None = request.get("compile")
    if device is not None:
        _check_device(ov.Core(), device)

    dialog.progress("read the model")
    message = openvino_frontend.read_onnx(source, called)
    changed = prepare(message)
    dialog.progress("find quantized weights")
    extraction = Extraction(message, os.path.dirname(os.path.abspath(source)))
    weights = extraction.weights
    dialog.progress("convert to OpenVINO")
    if weights or changed:
        scratch = os.path.join(folder, "scratch")
        model = openvino_frontend.convert_message(message, called, source, scratch)
    else:
        model = openvino_frontend.convert_file(source, called)
    fill_placeholders(model, weights)
    taken = _taken(weights)
    del message, extraction
    compress = request.get("compress")
    if compress is not None:
        dialog.progress("compress weights")
        model = _compress(model, compress)
    _describe(model, request.get("metadata") or {})
    if any(weight["element"] == "u2" for weight in taken):
        # As of 2026.4 the CPU plugin can't quantize what meets 2-bit weights, and fails to compile.
        model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])

    dialog.progress("write the IR")
    path = os.path.join(folder, name)
    ov.save_model(model, path, compress_to_fp16=False)
    # Constants of the model may lie in arrays of the weights.
    del model, weights
    files = [name, f"{name[: -len('.xml')]}.bin"]
    if device is not None:
        dialog.progress(f"compile for {device}")
        files.append(_compile(ov.Core(), path, device))
    verification = None
    if request["verify"]:
        tolerance = float(request["tolerance"])
        if any(weight["element"] not in ("f16", "bf16") for weight in taken):
            tolerance = max(tolerance, float(request["toleranceQuantized"]))
        verification = openvino_check.compare(request, source, path, tolerance, dialog)
    return {
        "files": [
            {"name": file, "byteLength": os.path.getsize(os.path.join(folder, file))}
            for file in files
        ],
        "openvino": openvino_frontend.version(),
        "weights": taken,
        "constants": _constants(path),
        "verification": verification,
    }


def _taken(weights: list[QuantizedWeight]) -> list[dict[str, Any]]:
    """The weights for the answer; of those that share their codes the first one has the bytes."""
    from ir.quantized_weights import STORED

    counted: set[int] = set()
    taken = []
    for found in weights:
        codes = found.weight.codes
        if found.form == STORED:
            continue
        taken.append(
            {
                "name": found.name,
                "form": found.form,
                "element": codes.element,
                "dims": list(found.weight.dims),
                "byteLength": 0 if id(codes) in counted else codes.byte_length,
            }
        )
        counted.add(id(codes))
    return taken


def _check_device(core: Any, device: str) -> None:
    available = list(core.available_devices)
    if device not in available:
        raise Refusal(
            "input",
            f'Cannot compile for the device "{device}": OpenVINO finds none of that name here. '
            f"It finds {', '.join(available) or 'none'}.",
        )


def _compile(core: Any, path: str, device: str) -> str:
    """Writes the compiled model beside the IR and gives its name."""
    name = f"{os.path.basename(path)[: -len('.xml')]}.blob"
    try:
        blob = core.compile_model(path, device).export_model()
    except RuntimeError as error:
        from ir.openvino_frontend import first_line

        lines = [line for line in str(error).splitlines() if line.strip()]
        raise Refusal(
            "input",
            f'Cannot compile for the device "{device}": OpenVINO says: '
            f"{first_line(lines[-1] if lines else error)}. Leave out --compile.",
        ) from error
    with open(os.path.join(os.path.dirname(path), name), "wb") as file:
        file.write(blob.getbuffer() if hasattr(blob, "getbuffer") else blob)
    return name


def _compress(model: Any, compress: dict[str, Any]) -> Any:
    """Weights compressed by NNCF; rows that are no whole groups get smaller groups."""
    import nncf

    mode = compress["mode"]
    if mode not in _NNCF_MODES:
        raise Refusal("input", f'Cannot compress by "{mode}": NNCF has {", ".join(_NNCF_MODES)}.')
    parameter = nncf.parameters.CompressWeightsMode[mode]
    if mode.startswith("INT8"):
        return nncf.compress_weights(model, mode=parameter)
    fallback = nncf.AdvancedCompressionParameters(
        group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
    )
    try:
        return nncf.compress_weights(
            model,
            mode=parameter,
            group_size=compress["groupSize"],
            ratio=1.0,
            all_layers=True,
            advanced_parameters=fallback,
        )
    except nncf.ValidationError as error:
        from ir.openvino_frontend import first_line

        raise Refusal(
            "input",
            f"Cannot compress the weights: NNCF says: {first_line(error)}. "
            "Leave out --method nncf.",
        ) from error


def _describe(model: Any, metadata: dict[str, str]) -> None:
    """Says what made the model; what names files or places of this machine goes."""
    for key in list(model.rt_info):
        if key not in ("Runtime_version",):
            del model.rt_info[key]
    for key, value in metadata.items():
        model.set_rt_info(value, ["modelcast", key])


def _constants(path: str) -> list[dict[str, Any]]:
    """Elements and bytes of the constants in an IR's file by element type, the largest first."""
    totals: dict[str, list[int]] = {}
    seen: set[str] = set()
    with open(path, encoding="utf-8") as file:
        for line in file:
            found = _CONSTANT.search(line)
            # Equal constants are stored once.
            if found is None or found["offset"] in seen:
                continue
            seen.add(found["offset"])
            dims = [int(dim) for dim in found["shape"].split(",") if dim.strip()]
            entry = totals.setdefault(found["type"], [0, 0])
            entry[0] += math.prod(dims)
            entry[1] += int(found["size"])
    return [
        {"element": element, "elements": count, "byteLength": size}
        for element, (count, size) in sorted(totals.items(), key=lambda item: -item[1][1])
    ]


if __name__ == "__main__":
    open_channel()
    serve(convert)
