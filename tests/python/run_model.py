"""Runs models in an installed runtime (ONNX Runtime or OpenVINO) for tests, in a dialog of JSON
lines: a request on standard input, one answer on standard output.

{"op": "version"}                         -> {"runtime", "version"}
{"op": "original", "model", "inputs"}     runs a model on so many seeded inputs that fit it and keeps
                                          its outputs -> {"outputs": how many, "error"}
{"op": "compare", "model", "inputs"}      runs another one on the first so many of these inputs
                                          -> {"error": text or null, "relativeL2": mean over inputs
                                          and float outputs, "integersEqual", "finite"}

An error in loading or running a model is an answer, not the end of the dialog.
"""

import json
import sys

import numpy as np


class OnnxRuntime:
    """Sessions of ONNX Runtime on the CPU."""

    def __init__(self):
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        self.module = onnxruntime
        self.version = onnxruntime.__version__

    def load(self, path):
        options = self.module.SessionOptions()
        options.log_severity_level = 4
        # Otherwise activations may be rounded to 8 bits where weights are dequantized for a MatMul.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        session = self.module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        ports = [(port.name, port.type, port.shape) for port in session.get_inputs()]
        return ports, lambda feed: session.run(None, feed)


class OpenVino:
    """Models compiled by OpenVINO for the CPU."""

    def __init__(self):
        import openvino

        self.core = openvino.Core()
        # The CPU plugin computes in bfloat16 where it can, unless told not to.
        self.core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.version = openvino.__version__

    def load(self, path):
        compiled = self.core.compile_model(self.core.read_model(path), "CPU")
        ports = []
        for port in compiled.inputs:
            shape = [dim.get_length() if dim.is_static else None for dim in port.get_partial_shape()]
            name = port.get_element_type().get_type_name()
            ports.append((port.get_any_name(), {"i64": "tensor(int64)"}.get(name, "tensor(float)"), shape))
        outputs = compiled.outputs

        def run(feed):
            results = compiled(feed)
            return [results[output] for output in outputs]

        return ports, run


# Letters of five by seven dots, a row a number.
LETTERS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "X": (17, 17, 10, 4, 10, 17, 17),
    "Y": (17, 17, 10, 4, 4, 4, 4),
}


def picture(generator, height, width):
    """A line of dark letters on a light ground with a little noise, as PP-OCR normalizes it."""
    scale = 4
    letters = [LETTERS[name] for name in generator.choice(list(LETTERS), width // (6 * scale) - 1)]
    dots = np.zeros((7, 6 * len(letters)), np.float32)
    for index, letter in enumerate(letters):
        for row, bits in enumerate(letter):
            for column in range(5):
                dots[row, 6 * index + column] = bits >> (4 - column) & 1
    image = np.full((height, width), generator.uniform(0.8, 1), np.float32)
    top = int(generator.integers(6, height - 7 * scale - 6))
    left = int(generator.integers(6, width - dots.shape[1] * scale - 5))
    ink = np.kron(dots, np.ones((scale, scale), np.float32)) * generator.uniform(0.6, 0.8)
    image[top : top + ink.shape[0], left : left + ink.shape[1]] -= ink
    # Smooth edges, as those of a photograph.
    image = sum(np.roll(image, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    image = image + generator.normal(0, 0.02, image.shape)
    return np.tile((image - 0.5) / 0.5, (1, 3, 1, 1)).astype(np.float32)


def feed_of(ports, generator):
    """One input of every port, of what its name and its shape say it is."""
    length = int(generator.integers(8, 48))
    feed = {}
    for name, type_name, shape in ports:
        if len(shape) == 4:
            # The recognizer's height is fixed; the others take any multiple of 32.
            height = shape[2] if isinstance(shape[2], int) else 96
            feed[name] = picture(generator, height, 192)
        elif "mask" in name:
            feed[name] = np.ones((1, length), np.int64)
        elif name == "sr":
            feed[name] = np.array(16000, np.int64)
        elif name == "state":
            feed[name] = generator.normal(0, 0.2, (2, 1, 128)).astype(np.float32)
        elif "int" in type_name:
            feed[name] = generator.integers(1000, 30000, (1, length), np.int64)
        else:
            time = np.arange(576) / 16000
            tones = generator.uniform(80, 2000, 4)[:, None]
            audio = np.sin(2 * np.pi * tones * time).mean(0) + generator.normal(0, 0.05, 576)
            feed[name] = audio[None].astype(np.float32)
    return feed


def words(error):
    """An error in one line."""
    return " ".join(str(error).split())[:400] or type(error).__name__


class Dialog:
    def __init__(self):
        try:
            self.runtime = OnnxRuntime()
        except ImportError:
            self.runtime = OpenVino()
        self.inputs = []
        self.outputs = []

    def version(self, _):
        return {"runtime": type(self.runtime).__name__.lower(), "version": self.runtime.version}

    def original(self, request):
        try:
            ports, run = self.runtime.load(request["model"])
            generator = np.random.default_rng(11)
            self.inputs = [feed_of(ports, generator) for _ in range(request["inputs"])]
            self.outputs = [[np.array(value) for value in run(feed)] for feed in self.inputs]
        except Exception as error:
            return {"outputs": 0, "error": words(error)}
        return {"outputs": len(self.outputs[0]), "error": None}

    def compare(self, request):
        count = request["inputs"]
        errors = []
        equal = finite = True
        try:
            _, run = self.runtime.load(request["model"])
            for feed, wanted in zip(self.inputs[:count], self.outputs[:count], strict=True):
                for want, got in zip(wanted, run(feed), strict=True):
                    if want.shape != np.shape(got):
                        raise ValueError(f"shape {np.shape(got)} instead of {want.shape}")
                    if want.dtype.kind != "f":
                        equal = equal and bool(np.array_equal(want, got))
                        continue
                    want = want.astype(np.float64)
                    got = np.asarray(got).astype(np.float64)
                    finite = finite and bool(np.isfinite(got).all())
                    errors.append(np.linalg.norm(want - got) / max(np.linalg.norm(want), 1e-30))
        except Exception as error:
            return {"error": words(error), "relativeL2": 0, "integersEqual": False, "finite": False}
        return {
            "error": None,
            "relativeL2": float(np.mean(errors)) if finite else -1,
            "integersEqual": equal,
            "finite": finite,
        }


dialog = Dialog()
for line in sys.stdin:
    request = json.loads(line)
    operation = {"version": dialog.version, "original": dialog.original, "compare": dialog.compare}
    print(json.dumps(operation[request["op"]](request)), flush=True)
