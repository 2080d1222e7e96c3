"""The models of ONNX's own operator tests, for the test of the float conversion.

    float16_operators.py write FOLDER    writes those that take float32 as FOLDER/NAME.onnx
    float16_operators.py check FOLDER    compares FOLDER/half/NAME.onnx with each of them

`check` prints a JSON line for every model: {"name", "problem"}, the problem null where onnx's checker
with strict type inference accepts what it accepted before, and ONNX Runtime, where it runs the
original, runs the result and gets nearly the same.
"""

import json
import os
import pickle
import sys
import warnings

import numpy as np
import onnx

TOLERANCE = 1e-2


def write(folder):
    from onnx.backend.test.case.node import collect_testcases

    inputs = {}
    for case in collect_testcases(None):
        model = case.model
        takes_floats = any(
            port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for port in model.graph.input
        )
        standard = all(entry.domain in ("", "ai.onnx") for entry in model.opset_import)
        if not takes_floats or not standard or case.name.endswith("_expanded"):
            continue
        onnx.save(model, os.path.join(folder, f"{case.name}.onnx"))
        inputs[case.name] = list(case.data_sets[0][0])
    with open(os.path.join(folder, "inputs.pickle"), "wb") as file:
        pickle.dump(inputs, file)


def refused(path):
    """What onnx says against a model; None where it accepts it."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return None


def session(runtime, path):
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(wanted, got):
    """How two outputs differ, in words; None where they hardly do."""
    if not isinstance(wanted, np.ndarray):
        return None
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"{got.dtype}{got.shape} instead of {wanted.dtype}{wanted.shape}"
    if wanted.dtype.kind in "iub":
        return None if np.array_equal(wanted, got) else "other integers"
    if wanted.dtype.kind != "f":
        return None
    # What float16 can't hold may become infinite.
    held = np.isfinite(wanted) & (np.abs(wanted) < 6e4)
    wanted, got = wanted[held].astype(np.float64), got[held].astype(np.float64)
    error = np.linalg.norm(wanted - got) / max(np.linalg.norm(wanted), 1e-6)
    return None if error < TOLERANCE else f"relative L2 {error:.1e}"


def problem(runtime, path, half, inputs):
    said = refused(half)
    if said is not None and refused(path) is None:
        return said
    try:
        original = session(runtime, path)
        feed = {port.name: value for port, value in zip(original.get_inputs(), inputs)}
        wanted = original.run(None, feed)
    except Exception:
        return None
    try:
        got = session(runtime, half).run(None, feed)
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return next(filter(None, map(difference, wanted, got)), None)


def check(folder):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    with open(os.path.join(folder, "inputs.pickle"), "rb") as file:
        inputs = pickle.load(file)
    for name, values in inputs.items():
        path = os.path.join(folder, f"{name}.onnx")
        half = os.path.join(folder, "half", f"{name}.onnx")
        print(json.dumps({"name": name, "problem": problem(onnxruntime, path, half, values)}))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
