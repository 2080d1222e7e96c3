"""ONNX Runtime's own weight-only quantizers, as the rival of a benchmark.

A dialog in JSON lines: a request on standard input, one answer on standard output.

{"op": "load", "path", "rows", "columns"}   reads a float32 matrix [rows, columns]
{"op": "matrix", "symmetric"}               quantizes it to 4 bits, block 32
                                            -> {"seconds"} of MatMulNBitsQuantizer.process() on a
                                            model of one MatMul, {"kernel"} of its inner loop alone
{"op": "model", "source", "method", "output"}
                                            quantizes the MatMuls of a model to 4 bits, block 32,
                                            asymmetric; method "plain" or "hqq"; saves it
                                            where "output" is no null
                                            -> {"seconds"} of the quantizer's call alone
{"op": "compare", "original", "others", "inputs", "length"}
                                            runs the models on the same seeded inputs
                                            -> {"sqnr"}: dB of the last hidden state, one a model
"""

import json
import logging
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import matmul_nbits_quantizer as nbits

BLOCK = 32
# A line a node would count against the rival's speed.
logging.disable(logging.WARNING)


def load(request):
    shape = (request["rows"], request["columns"])
    load.matrix = np.fromfile(request["path"], dtype=np.float32).reshape(shape)
    return {}


def matrix(request):
    config = nbits.DefaultWeightOnlyQuantConfig(
        block_size=BLOCK, is_symmetric=request["symmetric"], bits=4
    )
    inner = nbits.DefaultWeightOnlyQuantizer(config)
    begin = time.perf_counter()
    inner.qbits_block_quant(load.matrix)
    kernel = time.perf_counter() - begin
    quantizer = nbits.MatMulNBitsQuantizer(one_product(load.matrix), algo_config=config)
    begin = time.perf_counter()
    quantizer.process()
    return {"seconds": time.perf_counter() - begin, "kernel": kernel}


def one_product(matrix):
    """A model that multiplies its input by the matrix [K, N]."""
    k, n = matrix.shape
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["m", k])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["m", n])],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])


def model(request):
    configs = {
        "plain": lambda: nbits.DefaultWeightOnlyQuantConfig(
            block_size=BLOCK, is_symmetric=False, bits=4, op_types_to_quantize=("MatMul",)
        ),
        "hqq": lambda: nbits.HQQWeightOnlyQuantConfig(
            block_size=BLOCK, bits=4, op_types_to_quantize=("MatMul",)
        ),
    }
    config = configs[request["method"]]()
    if request["method"] == "hqq":
        import torch  # noqa: F401  Its import must not count.
    quantizer = nbits.MatMulNBitsQuantizer(onnx.load(request["source"]), algo_config=config)
    begin = time.perf_counter()
    quantizer.process()
    seconds = time.perf_counter() - begin
    if request["output"] is not None:
        onnx.save(quantizer.model.model, request["output"])
    return {"seconds": seconds}


def feeds(session, count, length):
    """Seeded inputs of a text encoder: token numbers in range, masks of ones."""
    generator = np.random.default_rng(7)
    for _ in range(count):
        feed = {}
        for value in session.get_inputs():
            shape = (1, length)
            if "mask" in value.name:
                feed[value.name] = np.ones(shape, np.int64)
            elif "type" in value.name:
                feed[value.name] = np.zeros(shape, np.int64)
            else:
                feed[value.name] = generator.integers(1000, 30000, shape, np.int64)
        yield feed


def compare(request):
    options = onnxruntime.SessionOptions()
    # Without this the activations of a quantized MatMul may be rounded to 8 bits too.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")

    def session(path):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    original = session(request["original"])
    # The only output [batch, sequence, hidden].
    (name,) = [value.name for value in original.get_outputs() if len(value.shape) == 3]
    others = [session(path) for path in request["others"]]
    signal = 0.0
    noise = [0.0] * len(others)
    for feed in feeds(original, request["inputs"], request["length"]):
        wanted = original.run([name], feed)[0].astype(np.float64)
        signal += float((wanted**2).sum())
        for index, other in enumerate(others):
            got = other.run([name], feed)[0].astype(np.float64)
            noise[index] += float(((wanted - got) ** 2).sum())
    return {"sqnr": [10 * float(np.log10(signal / value)) for value in noise]}


OPERATIONS = {"load": load, "matrix": matrix, "model": model, "compare": compare}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(OPERATIONS[request["op"]](request)), flush=True)
