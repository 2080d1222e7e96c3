"""Takes quantized ONNX models over into OpenVINO IR and compares each with what it stands for.

Arguments: the folder of the project's Python modules, and a JSON file: a list of {"name", "model",
"expected", "feeds": [{"name", "dtype", "dims", "values"}]}. Prints a JSON list of {"name", "error",
"difference", "elements", "bytes", "floats"}: what went wrong, or null; the largest difference
between the IR in OpenVINO and the model "expected" in ONNX Runtime in units of the largest output;
the element types of the weights and their bytes in the IR; and the bytes of all floats in the IR
that are neither scales nor zero points.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import numpy as np
import onnxruntime
import openvino as ov

from ir.openvino_constants import fill_placeholders
from ir.openvino_frontend import convert_message, read_onnx
from ir.quantized_weights import Extraction

onnxruntime.set_default_logger_severity(4)
core = ov.Core()
core.set_property(
    "CPU",
    {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "INFERENCE_NUM_THREADS": 1,
    },
)


def expected_output(path: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The first output in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def take_over(path: str) -> tuple[ov.Model, list[str], int]:
    """The IR of a model, read back from its file, the weights' element types and bytes."""
    message = read_onnx(path, path)
    weights = Extraction(message, str(Path(path).parent)).weights
    model = convert_message(message, path, path, f"{path}.scratch")
    fill_placeholders(model, weights)
    written = f"{path}.xml"
    ov.save_model(model, written, compress_to_fp16=False)
    read = core.read_model(written)
    elements = sorted({found.weight.codes.element for found in weights})
    distinct = {id(found.weight.codes): found.weight.codes for found in weights}
    return read, elements, sum(codes.byte_length for codes in distinct.values())


def floats_of(model: ov.Model) -> int:
    """Bytes of float constants, without those that belong to quantized weights."""
    total = 0
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
            continue
        if not node.get_friendly_name().endswith(("/scales", "/zero_points", "/codes")):
            total += node.get_byte_size()
    return total


def compare(case: dict) -> dict:
    """One model."""
    feeds = {
        feed["name"]: np.array(feed["values"], feed["dtype"]).reshape(feed["dims"])
        for feed in case["feeds"]
    }
    answer = {"name": case["name"], "error": None, "difference": None}
    try:
        wanted = np.asarray(expected_output(case["expected"], feeds)).astype(np.float64)
        model, elements, size = take_over(case["model"])
        compiled = core.compile_model(model, "CPU")
        got = np.asarray(compiled(feeds)[compiled.outputs[0]]).astype(np.float64)
        if got.shape != wanted.shape:
            raise ValueError(f"shape {got.shape} instead of {wanted.shape}")
    except Exception as error:
        words = " ".join(str(error).split())[-600:] or type(error).__name__
        return {**answer, "error": words}
    difference = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30)
    return {
        **answer,
        "difference": float(difference) if np.isfinite(difference) else 1e30,
        "elements": elements,
        "bytes": size,
        "floats": floats_of(model),
    }


with open(sys.argv[2], encoding="utf-8") as file:
    cases = json.load(file)
# Libraries print to standard output as they like.
channel = os.dup(1)
os.dup2(2, 1)
os.write(channel, json.dumps([compare(case) for case in cases]).encode())
