"""Reads config.json and refuses what must not be believed, before any library sees it.

A configuration decides which class is made and how large it is, and transformers follows several
of its fields to code, to other models and to the network. What remains after the checks here is
plain numbers and names.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from child.dialog import Refusal
from checkpoint.file_formats import clip, listing, reason

_MAXIMUM_BYTES = 16 * 2**20
_MAXIMUM_DEPTH = 32
# No size, count or token id of a model passes it; larger ones only serve to exhaust memory.
_MAXIMUM_INTEGER = 2**40
# Layers are made one by one, and lists of that length before any of them.
_MAXIMUM_LAYERS = 10_000
_MAXIMUM_LIST = 1_000_000
_REMOTE_CODE_FIELDS = ("auto_map", "custom_pipelines", "trust_remote_code")
# Fields that make transformers fetch something, change the model's code or choose its kernels.
_STEERING_FIELDS = (
    "fusion_config",
    "transformers_weights",
    "kernel_config",
    "_attn_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "_experts_implementation",
    "experts_implementation",
    "_name_or_path",
)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in the file at `path`. Raises `Refusal` where it is none."""
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            raise Refusal(
                "input",
                f'Cannot read "{path}": it has more than {_MAXIMUM_BYTES} bytes, which no {what} '
                "needs. Give the right file.",
            )
        text = path.read_bytes()
    except OSError as error:
        raise Refusal("input", f'Cannot read "{path}": {reason(error)}. Give a {what}.') from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(
            "input", f'Cannot read "{path}": it is not valid JSON{where}. Give a {what}.'
        ) from error
    if not isinstance(value, dict):
        raise Refusal(
            "input",
            f'Cannot read "{path}": it holds a {type(value).__name__} where a JSON object '
            f"belongs. Give a {what}.",
        )
    return value


def read_configuration(path: Path) -> dict[str, Any]:
    """The configuration in the file at `path`, without the fields that steer the library.

    Raises `Refusal` where it asks for code of its own, is quantized or absurd.
    """
    fields = read_json(path, "config.json of a model")
    if "_diffusers_version" in fields or "_class_name" in fields:
        raise Refusal(
            "input",
            f'Cannot load "{path}": it describes a part of a diffusers pipeline, whose classes '
            "are neither of transformers nor of timm. Export that part with torch.export.save and "
            "give the .pt2 file.",
        )
    return _cleaned(path, fields, 0)


def _cleaned(path: Path, fields: dict[str, Any], depth: int) -> dict[str, Any]:
    """`fields` after all checks; for each configuration within as well."""
    for name in _REMOTE_CODE_FIELDS:
        if fields.get(name):
            raise Refusal(
                "input",
                f'Cannot load "{path}": its "{name}" asks for code that comes with the model '
                f"({clip(_first_text(fields[name]))}), which is never run. Remove "
                f'"{name}" where transformers knows the model type itself.',
            )
    quantization = fields.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise Refusal(
            "input",
            f'Cannot load "{path}": the checkpoint is quantized '
            f"({clip(method or 'quantization_config')}). Give the checkpoint that it was made "
            "from, and quantize the result with --precision.",
        )
    result: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _STEERING_FIELDS:
            continue
        if name == "use_pretrained_backbone":
            value = False
        result[name] = _checked(path, name, value, depth)
    return result


def _checked(path: Path, name: str, value: Any, depth: int) -> Any:
    if depth > _MAXIMUM_DEPTH:
        raise Refusal(
            "input", f'Cannot load "{path}": "{clip(name)}" nests too deeply. Correct the file.'
        )
    if isinstance(value, dict):
        return _cleaned(path, value, depth + 1)
    if isinstance(value, list):
        if len(value) > _MAXIMUM_LIST:
            raise Refusal(
                "input",
                f'Cannot load "{path}": "{clip(name)}" lists {len(value)} values. Correct it.',
            )
        return [_checked(path, name, item, depth + 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        most = _MAXIMUM_LAYERS if _counts_layers(name) else _MAXIMUM_INTEGER
        if abs(value) > most:
            raise Refusal(
                "input",
                f'Cannot load "{path}": "{clip(name)}" is {clip(value, 40)}, more than any model '
                f"has ({most}). Correct it.",
            )
    return value


def _counts_layers(name: str) -> bool:
    """Whether a field of that name says how often something is made."""
    return "id" not in name.split("_") and any(
        word in name
        for word in (
            "num_layers",
            "_layers",
            "n_layer",
            "depth",
            "num_blocks",
            "num_stages",
            "num_attention_heads",
            "num_heads",
            "n_head",
        )
    )


def _first_text(value: Any) -> str:
    """The first text within `value`, for a message."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return _first_text(value[0]) if value else ""
    return str(value)


def nearest(name: str, candidates: list[str]) -> str:
    """A sentence with the names most like `name`, or an empty text."""
    found = difflib.get_close_matches(name.lower()[:100], candidates, n=3, cutoff=0.5)
    return f" The nearest names are {listing(found)}." if found else ""
