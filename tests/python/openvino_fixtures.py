"""Converts every model of a fixture folder to OpenVINO IR and compares it on the fixtures' data.

    openvino_fixtures.py FOLDER

prints a line of JSON for each model: `name`, `error` (the largest absolute error of any output, as a
part of its largest magnitude where that is above 1), or `failure`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import openvino as ov

_ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(_ROOT / "python")]

from child.dialog import Dialog, Refusal  # noqa: E402

import openvino_ir  # noqa: E402


class _Silent(Dialog):
    """Says nothing."""

    def __init__(self) -> None:
        pass

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Not shown."""

    def warn(self, message: str) -> None:
        """Not shown."""


def largest_error(folder: Path, scratch: str) -> float:
    """The largest error over all data sets of the model in `folder`."""
    openvino_ir.convert(
        {
            "command": "convert",
            "source": str(folder / "model.onnx"),
            "sourceName": "model.onnx",
            "outputFolder": scratch,
            "outputName": "model.xml",
            "compress": None,
            "compile": None,
            "verify": False,
            "metadata": {},
        },
        _Silent(),
    )
    compiled = ov.Core().compile_model(
        f"{scratch}/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    names = [value.name for value in onnx.load(folder / "model.onnx").graph.input]
    worst = 0.0
    for data in sorted(folder.glob("test_data_set_*")):
        inputs = [_tensor(data / f"input_{index}.pb") for index in range(len(names))]
        results = compiled(dict(zip(names, inputs, strict=True)))
        for index, output in enumerate(compiled.outputs):
            wanted = _tensor(data / f"output_{index}.pb")
            if wanted.shape != results[output].shape:
                raise ValueError(f"output {index} has the shape {results[output].shape}")
            if wanted.size == 0:
                continue
            error = float(np.abs(wanted.astype(np.float64) - results[output]).max())
            worst = max(worst, error / max(1.0, float(np.abs(wanted).max())))
            if not np.isfinite(error):
                raise ValueError(f"output {index} is not finite")
    return worst


def _tensor(path: Path) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load_tensor(path))


if __name__ == "__main__":
    for model in sorted(Path(sys.argv[1]).glob("*/model.onnx")):
        line: dict[str, object] = {"name": model.parent.name}
        with tempfile.TemporaryDirectory() as place:
            try:
                line["error"] = largest_error(model.parent, place)
            except (Refusal, ValueError, RuntimeError) as error:
                line["failure"] = str(error)
        print(json.dumps(line), flush=True)
