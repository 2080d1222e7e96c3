"""ONNX Runtime against OpenVINO on the same inputs.

The parent says of each input what it is for (`role`), which it learned from the graph; values are
made here from a seed. Extents that the model leaves open are found by running it: the likeliest
first, then others, until ONNX Runtime accepts them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import openvino as ov

from child.dialog import Dialog, Refusal
from ir.openvino_frontend import first_line, version

_TYPES: dict[str, type] = {
    "float32": np.float32,
    "float16": np.float16,
    "float64": np.float64,
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "uint64": np.uint64,
    "bool": np.bool_,
    "string": np.str_,
}
_MOST_TRIALS = 64
_MOST_ELEMENTS = 2**28
# As many as an array of NumPy's has.
_MOST_AXES = 64
# Other extents may make inputs this many times as large as the first ones.
_MOST_GROWTH = 4
_INTEGER_BOUND = "#integers"


@dataclass
class _Input:
    name: str
    dtype: str
    dims: list[int | list[str]]
    """Extents; an open one is a list of terms, names and numbers that are added up."""
    role: dict[str, Any]


def compare(
    request: dict[str, Any], reference: str, model_path: str, tolerance: float, dialog: Dialog
) -> dict[str, Any]:
    """Runs the ONNX model `reference` and the IR `model_path`; see the return statement.

    `request` has `inputs`, `unknowns`, `samples`, `seed`, `probabilities` (names of outputs between
    0 and 1) and `probabilityTolerance` (the error that passes in them whatever their magnitude).
    `tolerance` is the largest error, as a part of an output's largest magnitude. Raises `Refusal`
    where the reference does not run.
    """
    inputs = [_Input(**found) for found in request["inputs"]]
    unknowns = {found["key"]: found["candidates"] for found in request["unknowns"]}
    samples = max(1, int(request.get("samples", 3)))
    seed = int(request["seed"])
    dialog.progress("run ONNX Runtime")
    feeds, expected, names = _reference(reference, inputs, unknowns, samples, seed)
    dialog.progress("run OpenVINO")
    actual = _openvino(model_path, feeds, names)
    probability = float(request.get("probabilityTolerance", 0))
    floors = {name: probability for name in request.get("probabilities", [])}
    outputs, failures = _judge(names, expected, actual, tolerance, floors)
    return {
        "passed": not failures,
        "reference": f"onnxruntime {onnxruntime.__version__}",
        "runtime": f"openvino {version()}",
        "device": "CPU",
        "tolerance": tolerance,
        "seed": seed,
        "samples": len(feeds),
        "inputs": [
            {"name": name, "dtype": str(value.dtype), "dims": list(value.shape)}
            for name, value in feeds[0].items()
        ],
        "outputs": outputs,
        "failures": failures,
    }


def _reference(
    path: str,
    inputs: list[_Input],
    unknowns: dict[str, list[int]],
    samples: int,
    seed: int,
) -> tuple[list[dict[str, np.ndarray]], list[list[Any]], list[str]]:
    """Inputs that the ONNX model accepts, its outputs for them, and their names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Without it DequantizeLinear and MatMul become a kernel that rounds activations to 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # On a busy machine threads that wait by spinning take the time of those that work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        # ONNX Runtime's errors share no base but Exception.
        raise Refusal("input", _no_reference(error)) from error
    taken = {port.name for port in session.get_inputs()}
    inputs = [found for found in inputs if found.name in taken]
    missing = taken - {found.name for found in inputs}
    if missing:
        raise Refusal("input", _no_reference(f"nothing is known of the input {min(missing)}"))
    deepest = max(inputs, key=lambda found: len(found.dims), default=None)
    if deepest is not None and len(deepest.dims) > _MOST_AXES:
        count = len(deepest.dims)
        raise Refusal("input", _no_reference(f"{count} axes of {deepest.name} are too many"))
    names = [port.name for port in session.get_outputs()]
    problem: Exception | None = None
    for assignment in itertools.islice(_assignments(unknowns), _MOST_TRIALS):
        feeds = _sample(inputs, assignment, seed, 0)
        try:
            first = session.run(names, feeds)
        except MemoryError:
            raise
        except Exception as error:
            problem = problem or error
            continue
        varied = any(found.role["kind"] in _VARYING for found in inputs)
        all_feeds, results = [feeds], [first]
        for number in range(1, samples if varied or unknowns else 1):
            other = _others(unknowns, assignment, number)
            for chosen in (other, assignment):
                feeds = _sample(inputs, chosen, seed, number)
                if chosen is other and _elements(feeds) > _MOST_GROWTH * _elements(all_feeds[0]):
                    continue
                try:
                    results.append(session.run(names, feeds))
                except MemoryError:
                    raise
                except Exception:
                    # Not every extent that is left open can have any value.
                    if chosen is assignment:
                        raise
                    continue
                all_feeds.append(feeds)
                break
        return all_feeds, results, names
    raise Refusal("input", _no_reference(problem or "there was nothing to try"))


def _no_reference(said: object) -> str:
    return (
        "Cannot verify the result: the ONNX model does not run in ONNX Runtime "
        f"{onnxruntime.__version__} on made-up inputs, which says: {first_line(said)}. Convert "
        "with --no-verify if that is expected."
    )


def _openvino(
    path: str, feeds: list[dict[str, np.ndarray]], names: list[str]
) -> list[list[Any]] | str:
    """What the IR gives, in the order of `names`; what OpenVINO says where it does not run."""
    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        # Scales of dequantization stay as exact as ONNX Runtime's.
        "KV_CACHE_PRECISION": "f32",
    }
    try:
        compiled = core.compile_model(path, "CPU", settings)
        results = []
        for sample in feeds:
            known = {
                name: value
                for name, value in sample.items()
                if any(name in port.get_names() for port in compiled.inputs)
            }
            answer = compiled(known)
            results.append([np.array(answer[name]) for name in names])
        return results
    except MemoryError:
        raise
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return first_line(lines[-1] if lines else error)


def _judge(
    names: list[str],
    expected: list[list[Any]],
    actual: list[list[Any]] | str,
    tolerance: float,
    floors: dict[str, float],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Errors by output, and what is out of bounds; an error up to an output's floor never is."""
    if isinstance(actual, str):
        return [], [f"OpenVINO {version()} does not run the result: {actual}"]
    outputs: list[dict[str, Any]] = []
    failures: list[str] = []
    for at, name in enumerate(names):
        worst, signal, noise, scale, equal, count = 0.0, 0.0, 0.0, 0.0, 0, 0
        problem: str | None = None
        whole = False
        for reference, result in zip(expected, actual, strict=True):
            a, b = np.asarray(reference[at]), np.asarray(result[at])
            if a.shape != b.shape:
                problem = f"has the extents {list(b.shape)} instead of {list(a.shape)}"
                break
            count += a.size
            if a.dtype.kind not in "f":
                whole = True
                equal += int(np.sum(a == b))
                continue
            a, b = a.astype(np.float64), b.astype(np.float64)
            finite = np.isfinite(a)
            if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(
                a[~finite], b[~finite], equal_nan=True
            ):
                problem = "has NaN or infinity at other places"
                break
            difference = np.abs(a[finite] - b[finite])
            worst = max(worst, float(difference.max(initial=0)))
            scale = max(scale, float(np.abs(a[finite]).max(initial=0)))
            signal += float(np.sum(a[finite] ** 2))
            noise += float(np.sum(difference**2))
        relative = worst / scale if scale > 0 else worst
        if problem is None and whole and equal < count:
            problem = f"differs in {count - equal} of {count} elements"
        bearable = relative <= tolerance or worst <= floors.get(name, 0)
        if problem is None and not whole and not bearable:
            problem = (
                f"is off by {worst:.3g}, {relative:.3g} of its largest magnitude; "
                f"{tolerance:.3g} is allowed"
            )
        if problem is not None:
            failures.append(f'output "{name}" {problem}')
        outputs.append(
            {
                "name": name,
                "dims": list(np.asarray(expected[0][at]).shape),
                "dtype": str(np.asarray(expected[0][at]).dtype),
                "maximumAbsoluteError": None if whole else worst,
                "relativeToLargest": None if whole else relative,
                "relativeL2": None if whole else (noise / signal) ** 0.5 if signal > 0 else 0.0,
                "equalShare": (equal / count if count else 1.0) if whole else None,
            }
        )
    return outputs, failures


def _assignments(unknowns: dict[str, list[int]]) -> Iterator[dict[str, int]]:
    """Values of the unknowns: the likeliest, then one changed at a time, then two."""
    first = {key: candidates[0] for key, candidates in unknowns.items() if candidates}
    yield first
    for key, candidates in unknowns.items():
        for value in candidates[1:]:
            yield first | {key: value}
    for (one, firsts), (other, seconds) in itertools.combinations(unknowns.items(), 2):
        for value, another in itertools.product(firsts[1:], seconds[1:]):
            yield first | {one: value, other: another}


def _elements(feeds: dict[str, np.ndarray]) -> int:
    return sum(value.size for value in feeds.values())


def _others(
    unknowns: dict[str, list[int]], assignment: dict[str, int], number: int
) -> dict[str, int]:
    """Other extents for sample `number`: a model that says it takes any is held to it."""
    return {
        key: candidates[(candidates.index(assignment[key]) + number) % min(3, len(candidates))]
        if assignment[key] in candidates[:3]
        else assignment[key]
        for key, candidates in unknowns.items()
        if key in assignment
    }


def _sample(
    inputs: list[_Input], assignment: dict[str, int], seed: int, number: int
) -> dict[str, np.ndarray]:
    return {
        found.name: _tensor(found, assignment, [seed, number, *found.name.encode()])
        for found in inputs
    }


# Roles of which the values depend on the seed.
_VARYING = {"tokens", "state", "picture", "audio", "integers", "booleans", "strings", "numbers"}
_WORDS = ["one", "two", "red", "green", "water", "light", "morning", "paper"]


def _tensor(found: _Input, assignment: dict[str, int], seed: list[int]) -> np.ndarray:
    """A value for an input."""
    dims = [
        dim
        if isinstance(dim, int)
        else sum(int(term) if term.isdigit() else assignment.get(term, 1) for term in dim)
        for dim in found.dims
    ]
    if int(np.prod(dims, dtype=np.float64)) > _MOST_ELEMENTS:
        raise Refusal(
            "input",
            f'Cannot make up the input "{found.name}": {dims} are more than {_MOST_ELEMENTS} '
            "elements. Convert with --no-verify.",
        )
    random = np.random.default_rng(seed)
    dtype = _TYPES.get(found.dtype, np.float32)
    role = found.role
    match role["kind"]:
        case "strings":
            return random.choice(np.array(_WORDS, dtype=object), dims)
        case "mask":
            value: np.ndarray = np.ones(dims)
        case "zeros":
            value = np.zeros(dims)
        case "constant":
            value = np.full(dims, role["value"])
        case "positions":
            value = np.broadcast_to(np.arange(dims[-1] if dims else 1), dims or [1]).reshape(dims)
        case "length":
            extents = [extent for key, extent in assignment.items() if key != _INTEGER_BOUND]
            value = np.full(dims, max([1, *extents]))
        case "tokens":
            rows = min(role["rows"], np.iinfo(dtype).max)
            value = random.integers(0, rows, dims)
        case "integers":
            value = random.integers(0, assignment.get(_INTEGER_BOUND, 10), dims)
        case "booleans":
            value = random.integers(0, 2, dims)
        case "state":
            value = 0.1 * random.standard_normal(dims)
        case "audio":
            count = dims[-1] if dims else 1
            tones = random.uniform(0.03, 0.7, 3)[:, None] * np.arange(count)
            value = 0.1 * np.sin(tones).sum(0) + 0.02 * random.standard_normal(dims)
        case "picture":
            # Some networks answer to figures, some to texture.
            figures = seed[1] % 2 == 0
            value = _picture(dims, random) if figures else random.standard_normal(dims) / 2
            value = np.clip(value, -1, 1)
            if np.dtype(dtype).kind in "iu":
                value = np.rint((value + 1) * (63.5 if dtype == np.int8 else 127.5))
        case _:
            value = random.standard_normal(dims)
    return value.astype(dtype)


def _picture(dims: list[int], random: np.random.Generator) -> np.ndarray:
    """Bars on a shaded ground, from -1 to 1; batch, channels and sides as in `dims`."""
    channels_last = len(dims) == 4 and dims[1] not in (1, 3, 4) and dims[3] in (1, 3, 4)
    height, width = (dims[1], dims[2]) if channels_last else (dims[-2], dims[-1])
    lead = int(np.prod([*dims[:-3], dims[-1] if channels_last else dims[-3]]))
    ground = np.linspace(0.2, 0.9, width)[None, :] * np.linspace(1, 0.7, height)[:, None]
    planes = np.repeat(ground[None], lead, 0)
    for _ in range(12):
        top, left = random.integers(0, height), random.integers(0, width)
        bottom = top + 1 + random.integers(0, max(1, height // 4))
        right = left + 1 + random.integers(0, max(1, width // 3))
        planes[:, top:bottom, left:right] = random.uniform(-1, 1, (lead, 1, 1))
    planes += 0.02 * random.standard_normal(planes.shape)
    if channels_last:
        return np.moveaxis(planes.reshape(dims[0], dims[3], height, width), 1, 3)
    return planes.reshape(dims)
