"""ONNX models into OpenVINO's in-memory form, and OpenVINO's complaints into plain sentences."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator

import onnx
import openvino as ov
from google.protobuf.message import DecodeError
from onnx import TensorProto

from child.dialog import Refusal
from ir.onnx_graph import external_file, subgraphs

# One protobuf message holds less.
_MOST_MESSAGE_BYTES = 2**31 - 2**20


def read_onnx(path: str, name: str) -> onnx.ModelProto:
    """The model in the file `path`, which messages call `name`; external data stay where they are.

    Raises `Refusal` for what is no model, and for external data that can't be read.
    """
    try:
        model = onnx.load_model(path, load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        raise Refusal(
            "input",
            f'Cannot read "{name}": {first_line(error)}. Check that it is a whole ONNX model.',
        ) from error
    if len(model.graph.node) == 0 and len(model.graph.output) == 0:
        raise Refusal(
            "input", f'Cannot read "{name}": it holds no graph. Check that it is an ONNX model.'
        )
    folder = os.path.dirname(os.path.abspath(path))
    for tensor in tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            external_file(tensor, folder)
    if len(model.functions) > 0:
        # OpenVINO knows no functions of a model's own.
        from onnx import checker, inliner

        try:
            model = inliner.inline_local_functions(model)
        except (RuntimeError, ValueError, checker.ValidationError) as error:
            raise Refusal(
                "input",
                f'Cannot convert "{name}" to OpenVINO: its functions can\'t be put in the place of '
                f"their calls: {first_line(error).rstrip('.')}. Change the model where it is "
                "exported, or convert to another format.",
            ) from error
    return model


def tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every stored tensor of a graph and of those in it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
        for inner in subgraphs(node):
            yield from tensors(inner)


def convert_file(path: str, name: str) -> ov.Model:
    """The model in the file `path`. Raises `Refusal` where OpenVINO does not take it."""
    return _convert(path, name, lambda: node_names(read_onnx(path, name)))


def convert_message(model: onnx.ModelProto, name: str, source: str, scratch: str) -> ov.Model:
    """`model`, which was read from the file `source` and changed.

    External data that are left are copied into the folder `scratch` where one message can't hold
    them, because OpenVINO takes none from outside of a model's folder.
    """
    folder = os.path.dirname(os.path.abspath(source))
    external = [
        tensor for tensor in tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL
    ]
    places = [(tensor, *external_file(tensor, folder)) for tensor in external]
    total = sum(length for *_, length in places) + model.ByteSize()
    names = node_names(model)
    if total < _MOST_MESSAGE_BYTES:
        for tensor, path, offset, length in places:
            with open(path, "rb") as file:
                file.seek(offset)
                data = file.read(length)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = data
        stream = io.BytesIO(model.SerializeToString())
        for tensor in tensors(model.graph):
            tensor.ClearField("raw_data")
        return _convert(stream, name, lambda: names)
    os.mkdir(scratch)
    try:
        with open(os.path.join(scratch, "data"), "wb") as target:
            for tensor, path, offset, length in places:
                at = target.tell()
                _copy(path, offset, length, target)
                tensor.ClearField("external_data")
                for key, value in (("location", "data"), ("offset", at), ("length", length)):
                    tensor.external_data.add(key=key, value=str(value))
        path = os.path.join(scratch, "model.onnx")
        with open(path, "wb") as target:
            target.write(model.SerializeToString())
        return _convert(path, name, lambda: names)
    finally:
        # What OpenVINO has mapped stays readable.
        shutil.rmtree(scratch, ignore_errors=True)


def _copy(path: str, offset: int, length: int, target: io.BufferedWriter) -> None:
    with open(path, "rb") as file:
        file.seek(offset)
        while length > 0:
            piece = file.read(min(length, 1 << 24))
            if not piece:
                raise Refusal("input", f'Cannot read "{os.path.basename(path)}": it ends early.')
            target.write(piece)
            length -= len(piece)


def node_names(model: onnx.ModelProto) -> dict[tuple[str, str], list[str]]:
    """The names of nodes by domain and op, in the order of the graph."""
    names: dict[tuple[str, str], list[str]] = {}

    def visit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            domain = "" if node.domain == "ai.onnx" else node.domain
            name = node.name or (node.output[0] if node.output else "")
            names.setdefault((domain, node.op_type), []).append(name)
            for inner in subgraphs(node):
                visit(inner)

    visit(model.graph)
    return names


def _convert(
    model: str | io.BytesIO, name: str, names: Callable[[], dict[tuple[str, str], list[str]]]
) -> ov.Model:
    try:
        return ov.convert_model(model)
    except MemoryError:
        raise
    except Exception as error:
        # openvino.tools.ovc raises types of its own that share no base but Exception.
        raise Refusal("input", _complaint(name, str(error), names())) from error


def _complaint(name: str, text: str, names: dict[tuple[str, str], list[str]]) -> str:
    """What OpenVINO said, as a sentence that names ops and nodes."""
    missing = re.search(r"No conversion rule found for operations: (.+)", text)
    failed = re.findall(
        r"^-- (\S+) with a message:\n(.*?)(?=^-- |^Summary:|\Z)", text, re.MULTILINE | re.DOTALL
    )
    parts: list[str] = []
    if missing is not None:
        ops = [_named(op.strip(), names) for op in missing.group(1).split(",")]
        parts.append(f"OpenVINO {version()} has no such operators as {'; '.join(ops)}")
    for op, message in failed:
        node = re.search(r"ONNX node '<Node\([^)]*\): ([^>]*)>'", message)
        reason = _reason(message)
        where = f' node "{node.group(1)}"' if node is not None else ""
        parts.append(f"OpenVINO {version()} can't convert {_op(op)}{where}: {reason}")
    if not parts:
        parts.append(f"OpenVINO {version()} says: {_reason(text)}")
    advice = "Change the model where it is exported, or convert to another format."
    return f'Cannot convert "{name}" to OpenVINO: {". ".join(parts)}. {advice}'


def _op(said: str) -> str:
    """`Conv-16` or `my.domain.Foo` as a person says it."""
    op, _, opset = said.rpartition("-")
    return f"{op} (opset {opset})" if op and opset.isdigit() else said


def _named(said: str, names: dict[tuple[str, str], list[str]]) -> str:
    """An op that OpenVINO lacks, with the nodes that are of it."""
    op, _, opset = said.rpartition("-")
    plain = op if op and opset.isdigit() else said
    domain, _, kind = plain.rpartition(".")
    found = names.get((domain, kind), [])
    quoted = ", ".join(f'"{name}"' for name in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return _op(said) + (f" (node {quoted}{more})" if found else "")


def _reason(message: str) -> str:
    """The line of a message of OpenVINO's that says what is wrong."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if not re.match(
            r"(Check '|FrontEnd API failed|While validating|\[ONNX Frontend\] Conversion failed"
            r"|Loading input model|Converting input model|Exception from|Model wasn't fully)",
            line,
        )
    ]
    return first_line((telling or lines or ["nothing"])[-1 if telling else 0]).rstrip(".")


def version() -> str:
    """OpenVINO's version, such as 2026.4.0."""
    return ov.__version__.split("-")[0]


def first_line(error: object) -> str:
    """One line, not too long, of what an error says."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip().rstrip(".") if lines else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
