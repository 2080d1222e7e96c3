"""A comparison of models field by field, for the tests of the reader and the writer.

  onnx_compare.py A B [A B ...]  prints nothing where they are equal, else the differences
"""

import os
import sys
from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import TensorProto

# What says where external data lies.
PLACES = {"location", "offset", "length", "checksum"}


def messages(message: Message) -> Iterator[Message]:
    """`message` and all below it."""
    yield message
    for field, value in message.ListFields():
        if field.type == Field.TYPE_MESSAGE:
            for entry in value if field.is_repeated else [value]:
                yield from messages(entry)


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    return (message for message in messages(model) if isinstance(message, TensorProto))


def differences(a: Message, b: Message, path: str = "") -> list[str]:
    """Where two messages differ, presence of fields and unknown fields included."""
    found: list[str] = []
    fields_a = {field.name: (field, value) for field, value in a.ListFields()}
    fields_b = {field.name: (field, value) for field, value in b.ListFields()}
    for name in sorted(fields_a.keys() | fields_b.keys()):
        at = f"{path}.{name}"
        if name not in fields_a or name not in fields_b:
            found.append(f"{at}: only in {'the first' if name in fields_a else 'the second'}")
            continue
        field, x = fields_a[name]
        y = fields_b[name][1]
        xs, ys = (x, y) if field.is_repeated else ([x], [y])
        if len(xs) != len(ys):
            found.append(f"{at}: {len(xs)} and {len(ys)} entries")
        elif field.type == Field.TYPE_MESSAGE:
            for index, (p, q) in enumerate(zip(xs, ys)):
                found += differences(p, q, f"{at}[{index}]")
        elif field.type in (Field.TYPE_FLOAT, Field.TYPE_DOUBLE):
            if np.array(xs, np.float64).tobytes() != np.array(ys, np.float64).tobytes():
                found.append(f"{at}: {xs} and {ys}")
        elif list(xs) != list(ys):
            found.append(f"{at}: {str(xs)[:80]} and {str(ys)[:80]}")
    if unknown(a) != unknown(b):
        found.append(f"{path}: unknown fields {unknown(a)} and {unknown(b)}")
    return found


def unknown(message: Message) -> list[tuple]:
    fields = UnknownFieldSet(message)
    return sorted((field.field_number, field.wire_type, field.data) for field in fields)


def load(path: str) -> onnx.ModelProto:
    """A model with its external data inside."""
    model = onnx.ModelProto()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    # Where the bytes of external data lie may differ; what they are may not.
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        with open(os.path.join(os.path.dirname(path), entries["location"]), "rb") as file:
            file.seek(int(entries.get("offset", 0)))
            data = file.read(int(entries["length"])) if "length" in entries else file.read()
        rest = [entry for entry in tensor.external_data if entry.key not in PLACES]
        del tensor.external_data[:]
        tensor.external_data.extend(rest)
        tensor.raw_data = data
    return model


def main(*paths: str) -> int:
    failed = False
    for a, b in zip(paths[::2], paths[1::2], strict=True):
        for difference in differences(load(a), load(b)):
            failed = True
            print(f"{os.path.basename(a)}: {difference}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
