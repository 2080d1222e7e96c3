"""The models of old opsets that come with `onnx`, each with inputs and expected outputs.

`old_models.py list`   prints a JSON list of their paths.
`old_models.py check`  reads JSON lines {"path", "upgraded", "opset"} from standard input, runs each
                       upgraded model and prints a JSON list of {"path", "opset", "error"}, null
                       where the outputs are the expected ones.

Opsets that ONNX Runtime does not load are run by the reference evaluator of `onnx`.
"""

import glob
import json
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper

DATA = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
NEWEST_OF_ONNXRUNTIME = 25
# What neither runs: an operator of a preview domain, and one that needs locales to be installed.
LEFT_OUT = ("test_gradient_of", "test_strnorm_")


def paths():
    found = glob.glob(os.path.join(DATA, "**", "model.onnx"), recursive=True)
    return sorted(path for path in found if not any(name in path for name in LEFT_OUT))


def tensors(folder, kind):
    count = len(glob.glob(os.path.join(folder, f"{kind}_*.pb")))
    for index in range(count):
        with open(os.path.join(folder, f"{kind}_{index}.pb"), "rb") as file:
            yield numpy_helper.to_array(onnx.TensorProto.FromString(file.read()))


def evaluate(path, opset, inputs):
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert all(entry.version == opset for entry in model.opset_import if entry.domain == "")
    initialized = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initialized]
    feeds = dict(zip(names, inputs, strict=True))
    if opset > NEWEST_OF_ONNXRUNTIME:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(model).run(None, feeds)
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def check(request):
    folder = os.path.join(os.path.dirname(request["path"]), "test_data_set_0")
    try:
        outputs = evaluate(request["upgraded"], request["opset"], list(tensors(folder, "input")))
        for actual, expected in zip(outputs, tensors(folder, "output"), strict=True):
            # The tolerances of `onnx`'s own backend tests.
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)
            assert np.asarray(actual).dtype == expected.dtype
    except Exception as error:  # any failure is the answer
        return f"{type(error).__name__}: {error}"
    return None


if sys.argv[1] == "list":
    print(json.dumps(paths()))
else:
    requests = [json.loads(line) for line in sys.stdin]
    print(json.dumps([{**request, "error": check(request)} for request in requests]))
