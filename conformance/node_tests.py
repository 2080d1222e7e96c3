"""Writes the backend node tests of the installed onnx package, in ONNX's own test layout.

    python node_tests.py OUTPUT_FOLDER

OUTPUT_FOLDER/TEST/model.onnx, test_data_set_N/{input,output}_M.pb and tolerance.json. The package
draws the tests' inputs when it is asked for them; they are seeded here, so that every run writes
the same bytes. The folder appears when it is complete. A line of JSON says what was written.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

_SEED = 0


def _message(value: Any, info: onnx.ValueInfoProto) -> Any:
    """The protobuf message of a value: a tensor, a sequence, an optional or a map."""
    if isinstance(value, onnx.TensorProto):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    return numpy_helper.from_array(value, info.name)


def _write_values(
    folder: Path, kind: str, values: Sequence[Any], infos: Sequence[onnx.ValueInfoProto]
) -> None:
    for index, (value, info) in enumerate(zip(values, infos, strict=True)):
        data = _message(value, info).SerializeToString(deterministic=True)
        (folder / f"{kind}_{index}.pb").write_bytes(data)


def _write_case(case: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model.SerializeToString(deterministic=True))
    tolerance = {"rtol": float(case.rtol), "atol": float(case.atol)}
    (folder / "tolerance.json").write_text(json.dumps(tolerance) + "\n", encoding="utf-8")
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data_set = folder / f"test_data_set_{number}"
        data_set.mkdir()
        _write_values(data_set, "input", inputs, case.model.graph.input)
        _write_values(data_set, "output", outputs, case.model.graph.output)


def main(output: Path) -> None:
    """Writes all tests to `output`, which is replaced."""
    random.seed(_SEED)
    numpy.random.seed(_SEED)
    # Tests of overflow, of division by zero and of logarithms of zero mean what they do.
    with numpy.errstate(all="ignore"):
        cases = collect_testcases(None)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f"{output.name}."))
    temporary.chmod(0o755)
    try:
        for case in cases:
            _write_case(case, temporary / case.name)
        shutil.rmtree(output, ignore_errors=True)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    print(json.dumps({"tests": len(cases), "onnx": onnx.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
