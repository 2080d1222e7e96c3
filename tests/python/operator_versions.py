"""Prints, as JSON, the versions of every operator of ONNX's default domain: those that change it.
`tests/unit/operator_versions.json` is its output for the pinned `onnx`."""

import json
from collections import defaultdict

import onnx
import onnx.defs

versions = defaultdict(set)
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "":
        versions[schema.name].add(schema.since_version)

ir_versions = {}
for _, ir_version, opset, *_ in onnx.helper.VERSION_TABLE:
    ir_versions[opset] = min(ir_version, ir_versions.get(opset, ir_version))

lines = [f"{json.dumps(name)}: {sorted(versions[name])}" for name in sorted(versions)]
print("{")
print(f'"onnx": "{onnx.__version__}",')
print(f'"irVersions": {json.dumps({str(k): v for k, v in sorted(ir_versions.items())})},')
print('"operators": {\n' + ",\n".join(lines) + "\n}\n}")
