"""Rewrites an ONNX model where OpenVINO does not take what it says; it computes the same."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import helper

from ir.onnx_graph import attribute_of, subgraphs


def prepare(model: onnx.ModelProto) -> bool:
    """Applies every rule to every node; tells whether any of them changed one."""
    return _prepare(model.graph)


def _prepare(graph: onnx.GraphProto) -> bool:
    changed = False
    for node in graph.node:
        for inner in subgraphs(node):
            changed |= _prepare(inner)
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        changed |= rule is not None and rule(node)
    return changed


def _pad_pool(node: onnx.NodeProto) -> bool:
    """A pool over windows that may be larger than what is pooled (`ceil_mode`).

    OpenVINO 2026.4 wants data of the kernel's size at least. Where windows don't overlap and
    nothing is padded, a last window that is cut off is one that ends in padding which does not
    count.
    """
    ints = {found.name: list(found.ints) for found in node.attribute if found.ints}
    kernel = ints.get("kernel_shape", [])
    plain = (
        attribute_of(node, "ceil_mode", 0) == 1
        and kernel != []
        and ints.get("strides", [1] * len(kernel)) == kernel
        and not any(ints.get("pads", []))
        and all(dilation == 1 for dilation in ints.get("dilations", []))
        and all(found.s in (b"", b"NOTSET") for found in node.attribute if found.name == "auto_pad")
    )
    if not plain:
        return False
    replaced = ("ceil_mode", "pads", "count_include_pad", "auto_pad")
    kept = [found for found in node.attribute if found.name not in replaced]
    del node.attribute[:]
    node.attribute.extend(kept)
    pads = [0] * len(kernel) + [length - 1 for length in kernel]
    node.attribute.append(helper.make_attribute("pads", pads))
    return True


_RULES: dict[str, Callable[[onnx.NodeProto], bool]] = {"AveragePool": _pad_pool}
