"""Runs pairs of models that should compute the same, in the runtime that is installed (ONNX Runtime
or OpenVINO). The argument is a JSON file: a list of {"name", "model", "expected", "feeds": [{"name",
"dtype", "dims", "values"}], "tolerance"}. Prints a JSON list of {"name", "error", "difference"}: what
the runtime said, or null, and the largest difference of the outputs in units of the largest output.
A pair whose expected model the runtime itself can't run has "unsupported": true.
"""

import json
import sys

import numpy as np

try:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)

    def runner(path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        # Otherwise activations may be rounded to 8 bits where weights are dequantized for a MatMul.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda feeds: session.run(None, feeds)[0]

except ImportError:
    import openvino

    core = openvino.Core()
    # The CPU plugin computes in bfloat16 where it can and rounds activations to 8 bits where
    # weights are compressed, unless told not to.
    core.set_property(
        "CPU", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    )

    def runner(path):
        compiled = core.compile_model(core.read_model(path), "CPU")
        return lambda feeds: compiled(feeds)[compiled.outputs[0]]


def words(error):
    """An error in one line."""
    return " ".join(str(error).split())[:600] or type(error).__name__


def compare(case):
    feeds = {
        feed["name"]: np.array(feed["values"], feed["dtype"]).reshape(feed["dims"])
        for feed in case["feeds"]
    }
    answer = {"name": case["name"], "error": None, "difference": None, "unsupported": False}
    try:
        wanted = np.asarray(runner(case["expected"])(feeds)).astype(np.float64)
    except Exception as error:
        return {**answer, "error": words(error), "unsupported": True}
    try:
        got = np.asarray(runner(case["model"])(feeds)).astype(np.float64)
        if got.shape != wanted.shape:
            raise ValueError(f"shape {got.shape} instead of {wanted.shape}")
    except Exception as error:
        return {**answer, "error": words(error)}
    largest = max(np.abs(wanted).max(initial=0), 1e-30)
    difference = np.abs(got - wanted).max(initial=0) / largest
    return {**answer, "difference": float(difference) if np.isfinite(difference) else 1e30}


with open(sys.argv[1], encoding="utf-8") as file:
    print(json.dumps([compare(case) for case in json.load(file)]))
