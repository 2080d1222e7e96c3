"""Compares an exported file with the module that it was exported from.

Both compute the same seeded inputs, of several sizes where the file has open dimensions: another
batch, other lengths, rows that end in padding, an empty cache. An output passes where no element
differs by more than the tolerance, or, where its largest magnitude is above 1, by more than the
tolerance times that: float32 keeps 24 bits of a sum's largest terms, so what cancels leaves errors
of their size. The error of an output as a whole may be a hundred tolerances of its norm. A NaN on
one side only never passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from child.dialog import Dialog, Refusal
from exporting.units import ExportUnit

_RELATIVE = 100.0
"""How many times the tolerance the relative L2 error of an output may be. Outputs near zero, as
random weights give them, would otherwise pass whatever was computed."""


def compare(
    unit: ExportUnit, onnx_path: str | Path, tolerance: float, seed: int, dialog: Dialog
) -> dict[str, Any]:
    """Compares `onnx_path` with `unit.module` in ONNX Runtime on the CPU.

    Gives `passed`, `tolerance`, for every output the largest errors over all inputs, and what
    failed in sentences.
    """
    import onnxruntime

    path = Path(onnx_path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        first = str(error).strip().splitlines()[0][:300]
        return _verdict(tolerance, [], [f'ONNX Runtime can\'t load "{path.name}": {first}'])
    failures = _interface_failures(unit, session)
    if failures:
        return _verdict(tolerance, [], failures)
    outputs: dict[str, dict[str, Any]] = {}
    cases = [(unit.sizes, True), *((sizes, False) for sizes in unit.others)]
    for index, (sizes, must_run) in enumerate(cases):
        dialog.progress("verify", index / len(cases))
        arguments = unit.draw(sizes, seed + index)
        try:
            with torch.no_grad():
                expected = unit.module(*arguments.values())
        except Exception as error:
            if must_run:
                raise Refusal("verification", f"Cannot run the model itself: {error}") from error
            # The model takes no inputs of these sizes; so the file need not either.
            continue
        failures += _case(unit, session, path.name, sizes, arguments, expected, tolerance, outputs)
    dialog.progress("verify", 1.0)
    return _verdict(tolerance, list(outputs.values()), failures)


def _case(
    unit: ExportUnit,
    session: Any,
    file: str,
    sizes: Mapping[str, int],
    arguments: Mapping[str, torch.Tensor],
    expected: tuple[torch.Tensor, ...],
    tolerance: float,
    outputs: dict[str, dict[str, Any]],
) -> list[str]:
    """Runs one set of inputs; adds to `outputs` and gives what failed."""
    at = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "fixed sizes"
    feed = {name: arguments[name].numpy() for name in unit.file_inputs}
    try:
        got = session.run(None, feed)
    except Exception as error:
        first = str(error).strip().splitlines()[0][:300]
        return [f'"{file}" fails with {at}: {first}']
    failures: list[str] = []
    for name, wanted, value in zip(unit.output_names, expected, got, strict=True):
        reference = wanted.detach().numpy()
        entry = outputs.setdefault(
            name,
            {
                "file": file,
                "name": name,
                "shape": list(reference.shape),
                "maximumAbsoluteError": 0.0,
                "relativeL2": 0.0,
            },
        )
        problem = _difference(reference, value, tolerance, entry)
        if problem is not None:
            failures.append(f'"{name}" of "{file}" with {at}: {problem}')
    return failures


def _difference(
    wanted: np.ndarray, got: np.ndarray, tolerance: float, entry: dict[str, Any]
) -> str | None:
    """Why two outputs are not the same, or None; notes the errors in `entry`."""
    if wanted.dtype != got.dtype:
        return f"dtype {got.dtype} instead of {wanted.dtype}"
    if wanted.shape != got.shape:
        return f"shape {list(got.shape)} instead of {list(wanted.shape)}"
    if not np.issubdtype(wanted.dtype, np.floating):
        differing = int(np.count_nonzero(wanted != got))
        entry["maximumAbsoluteError"] = max(entry["maximumAbsoluteError"], float(differing > 0))
        return f"{differing} of {wanted.size} elements differ" if differing else None
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    unlike = int(np.count_nonzero(np.isnan(wanted) != np.isnan(got)))
    if unlike or np.isnan(got).any():
        entry["maximumAbsoluteError"] = entry["relativeL2"] = float("nan")
        return f"{int(np.isnan(got).sum())} of {got.size} elements are NaN"
    same = wanted == got
    difference = np.where(same, 0.0, np.abs(np.where(same, 0.0, wanted - np.where(same, 0, got))))
    largest = float(difference.max(initial=0.0))
    finite = np.where(np.isfinite(wanted), wanted, 0.0)
    norm = float(np.linalg.norm(finite))
    relative = float(np.linalg.norm(difference)) / norm if norm > 0 else float(largest > 0)
    entry["maximumAbsoluteError"] = max(entry["maximumAbsoluteError"], largest)
    entry["relativeL2"] = max(entry["relativeL2"], relative)
    allowed = tolerance * max(1.0, float(np.abs(finite).max(initial=0.0)))
    if largest > allowed:
        return f"maximum absolute error {largest:.3g}, allowed {allowed:.3g}"
    if norm > 0 and relative > _RELATIVE * tolerance:
        return f"relative L2 error {relative:.3g}, allowed {_RELATIVE * tolerance:.3g}"
    return None


def _interface_failures(unit: ExportUnit, session: Any) -> list[str]:
    """Whether the file's inputs and outputs are the unit's, in its order."""
    failures: list[str] = []
    for what, got, wanted in (
        ("inputs", [value.name for value in session.get_inputs()], list(unit.file_inputs)),
        ("outputs", [value.name for value in session.get_outputs()], list(unit.output_names)),
    ):
        if got != wanted:
            failures.append(f"The {what} are {got} instead of {wanted}")
    return failures


def _verdict(
    tolerance: float, outputs: list[dict[str, Any]], failures: list[str]
) -> dict[str, Any]:
    return {
        "passed": not failures,
        "tolerance": tolerance,
        "outputs": outputs,
        "failures": failures,
    }

