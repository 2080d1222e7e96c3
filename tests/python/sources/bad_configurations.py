"""Configurations that are broken, ask for code, or describe what no machine holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from good import Case, tiny
from transformers import BertModel


def cases(folder: Path, _evidence: Path) -> Iterator[Case]:
    """A name and a request for each."""
    good = folder / "good"
    BertModel(tiny()).save_pretrained(good)
    fields = json.loads((good / "config.json").read_text())
    changes: dict[str, dict[str, Any]] = {
        "auto_map": {"auto_map": {"AutoModel": "modeling_evil.EvilModel"}},
        "auto_map within": {"text_config": {"auto_map": {"AutoConfig": "evil.EvilConfig"}}},
        "trust_remote_code": {"trust_remote_code": True},
        "a quantized checkpoint": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        "an unknown model type": {"model_type": "bertt"},
        "a model type that is a number": {"model_type": 5},
        "no model type": {"model_type": None},
        "an unknown architecture": {"architectures": ["BertForMaskedLN"]},
        "an architecture that is code": {"architectures": ["os.system"]},
        "an architecture of another type": {"architectures": ["GPT2Model"]},
        "a hidden size of 10^9": {"hidden_size": 10**9, "num_attention_heads": 1},
        "a vocabulary of 2^39": {"vocab_size": 2**39},
        "a size of 10^30": {"hidden_size": 10**30},
        "10^9 layers": {"num_hidden_layers": 10**9},
        "9,999 layers of nothing": {"num_hidden_layers": 9_999},
        "a size that is a word": {"hidden_size": "large"},
        "a negative size": {"hidden_size": -32},
        "heads that don't divide": {"num_attention_heads": 5},
        "an unknown activation": {"hidden_act": "__import__('os').system('true')"},
        "deep nesting": {"text_config": _nested(60)},
    }
    for name, change in changes.items():
        yield f"configuration: {name}", _request(folder, good, name, {**fields, **change})
    for name, change in changes.items():
        if name.startswith(("a hidden", "a vocabulary", "10^9 layers")):
            request = _request(folder, good, f"random {name}", {**fields, **change})
            yield f"random weights: {name}", {**request, "randomWeights": True}
    for name, text in {
        "broken JSON": '{"model_type": "bert",\n "hidden_size": }',
        "a list": "[1, 2]",
        "deep JSON": "[" * 100_000,
        "bytes": "\ud800",
    }.items():
        request = _request(folder, good, name, None)
        Path(request["source"], "config.json").write_bytes(
            text.encode("utf-8", "surrogatepass") if name == "bytes" else text.encode()
        )
        yield f"configuration: {name}", request
    request = _request(folder, good, "absent", None)
    yield "configuration: absent", request
    request = _request(folder, good, "timm", None)
    for name, change in {
        "a fetched model": {"model_args": {"pretrained": True}},
        "a file as an argument": {"model_args": {"checkpoint_path": "/etc/passwd"}},
        "an unknown argument": {"model_args": {"no_such_argument": 1}},
        "a name that is a list": {"architecture": ["resnet18"]},
        "a width of 10^9": {"model_args": {"in_chans": 10**9, "stem_width": 10**6}},
    }.items():
        inner = folder / f"timm {name}"
        shutil.copytree(good, inner)
        (inner / "config.json").write_text(json.dumps({"architecture": "resnet18", **change}))
        yield f"timm configuration: {name}", {"source": str(inner)}


def _request(folder: Path, good: Path, name: str, fields: dict[str, Any] | None) -> dict[str, Any]:
    inner = folder / name
    shutil.copytree(good, inner)
    config = inner / "config.json"
    if fields is None:
        config.unlink()
    else:
        config.write_text(json.dumps(fields))
    return {"source": str(inner)}


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"text_config": value}
    return value
