"""Writes conformance/op_types.json: the element types that the newest version of every operator takes.

They are those of its first operand that has a choice of them, else of its first one, as the packages
onnx and onnxruntime publish them. Run it with the Python environment of tests/python:

    python scripts/op_types.py > conformance/op_types.json
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping

import onnx.defs
from onnxruntime.capi import onnxruntime_pybind11_state as ort

# ONNX's names that modelcast writes otherwise.
NAMES = {"float": "float32", "double": "float64"}


def elements(types: Iterable[str]) -> list[str]:
    """The element types of the tensors among `types`, in alphabetical order."""
    found = (re.fullmatch(r"tensor\((\w+)\)", each) for each in types)
    return sorted({NAMES.get(name, name) for name in (m.group(1) for m in found if m)})


def taken(formals: Iterable[str], constraints: Mapping[str, Iterable[str]]) -> list[str]:
    """The element types of the first of `formals` that has several, else of the first one."""
    choices = [elements(constraints.get(formal, [formal])) for formal in formals]
    return next((types for types in choices if len(types) > 1), choices[0] if choices else [])


def onnx_types() -> dict[str, list[str]]:
    """By operator of the default domain."""
    types: dict[str, list[str]] = {}
    for schema in onnx.defs.get_all_schemas():
        if schema.domain not in ("", "ai.onnx.preview"):
            continue
        formals = [formal.type_str for formal in (*schema.inputs, *schema.outputs)]
        constraints = {
            each.type_param_str: each.allowed_type_strs for each in schema.type_constraints
        }
        types[f"{schema.domain}:{schema.name}"] = taken(formals, constraints)
    return types


def runtime_types() -> dict[str, list[str]]:
    """By operator of com.microsoft, and by those that ONNX Runtime adds to the default domain."""
    types: dict[str, list[str]] = {}
    for schema in ort.get_all_operator_schema():
        if schema.domain not in ("", "com.microsoft"):
            continue
        formals = [formal.typeStr for formal in (*schema.inputs, *schema.outputs)]
        constraints = {
            each.type_param_str: each.allowed_type_strs for each in schema.type_constraints
        }
        types.setdefault(f"{schema.domain}:{schema.name}", taken(formals, constraints))
    return types


def main() -> None:
    """Prints all types, by domain and name."""
    types = {**runtime_types(), **onnx_types()}
    lines = (f"  {json.dumps(key)}: {json.dumps(' '.join(types[key]))}" for key in sorted(types))
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
