"""Sources of every kind that can be exported."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

Case = tuple[str, dict[str, Any]]


def tiny() -> BertConfig:
    """The configuration of all BERTs here."""
    return BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )


def cases(folder: Path) -> Iterator[Case]:
    """A name and a request for each."""
    torch.manual_seed(0)
    yield from _folders(folder)
    yield from _state_dicts(folder)
    yield from _programs(folder)
    yield from _timm(folder)


def _folders(folder: Path) -> Iterator[Case]:
    masked = BertForMaskedLM(tiny()).eval()
    for name, options in {"single": {}, "shards": {"max_shard_size": "20KB"}}.items():
        masked.save_pretrained(folder / name, **options)
        yield f"a folder with safetensors, {name}", {"source": str(folder / name)}
    (folder / "bin").mkdir()
    masked.config.save_pretrained(folder / "bin")
    torch.save(masked.state_dict(), folder / "bin" / "pytorch_model.bin")
    yield "a folder with pytorch_model.bin", {"source": str(folder / "bin")}
    yield "the base of a masked language model", {"source": str(folder / "single"), "task": "base"}
    classifier = BertForSequenceClassification(tiny()).to(torch.bfloat16)
    classifier.save_pretrained(folder / "bfloat16")
    yield "bfloat16 weights", {"source": str(folder / "bfloat16")}
    undeclared = BertModel(tiny())
    undeclared.save_pretrained(folder / "undeclared")
    config = folder / "undeclared" / "config.json"
    config.write_text(config.read_text().replace('"architectures"', '"once_architectures"'))
    yield "a configuration without architectures", {"source": str(folder / "undeclared")}
    for name in ("random weights", "the same random weights"):
        yield (
            name,
            {
                "source": str(folder / "single" / "config.json"),
                "randomWeights": True,
                "task": "classification",
                "seed": 3,
                "exporter": "torchscript",
            },
        )


def _of_old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the first BERTs were saved: other names, buffers, and the heads of pretraining."""
    renamed = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for key, value in state.items()
    }
    return {
        **renamed,
        "bert.embeddings.position_ids": torch.arange(48)[None],
        "bert.pooler.dense.weight": torch.zeros(32, 32),
        "cls.seq_relationship.weight": torch.zeros(2, 32),
    }


def _state_dicts(folder: Path) -> Iterator[Case]:
    state = torch.load(folder / "bin" / "pytorch_model.bin")
    config = {
        "modelType": "bert",
        "config": str(folder / "bin" / "config.json"),
        "exporter": "torchscript",
    }
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(wrapped, folder / "wrapped.pth")
    yield (
        "a wrapped state dict of parallel training",
        {
            "source": str(folder / "wrapped.pth"),
            **config,
        },
    )
    torch.save(_of_old_names(state), folder / "old.bin")
    yield "a state dict of old names", {"source": str(folder / "old.bin"), **config}
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    yield "a state dict of before PyTorch 1.6", {"source": str(folder / "legacy.pth"), **config}
    yield (
        "a safetensors file",
        {
            "source": str(folder / "single" / "model.safetensors"),
            **config,
        },
    )


def _programs(folder: Path) -> Iterator[Case]:
    model = Small().eval()
    picture = torch.randn(2, 3, 16, 16)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (picture,), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "program.pt2")
    yield "a torch.export program", {"source": str(folder / "program.pt2")}
    guarded = folder / "guarded.pt2"
    with zipfile.ZipFile(folder / "program.pt2") as old, zipfile.ZipFile(guarded, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("models/model.json"):
                graph = json.loads(data)
                graph["guards_code"] = [f"__import__('os').mknod('{folder / 'executed'}') is None"]
                data = json.dumps(graph).encode()
            new.writestr(entry, data)
    yield "a program whose guards are code", {"source": str(guarded)}
    torch.jit.save(torch.jit.script(model), str(folder / "script.pt"))
    yield "TorchScript", {"source": str(folder / "script.pt")}


class Small(torch.nn.Module):
    """A convolutional classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3)
        self.classifier = torch.nn.Linear(4, 5)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits for pictures of any size."""
        return self.classifier(torch.relu(self.convolution(pixel_values)).mean((2, 3)))


def _timm(folder: Path) -> Iterator[Case]:
    import timm
    from timm.models import save_for_hf

    os.environ["HF_HUB_OFFLINE"] = "1"
    model = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    save_for_hf(model, folder / "timm")
    yield "a folder of timm", {"source": str(folder / "timm")}
    torch.save(model.state_dict(), folder / "timm.pth")
    yield (
        "a timm name and a state dict",
        {
            "source": str(folder / "timm.pth"),
            "modelType": "timm/mobilenetv3_small_050",
        },
    )
    torch.save(model, folder / "whole.pth")
    yield (
        "a trusted pickle of a whole module",
        {
            "source": str(folder / "whole.pth"),
            "trustPickle": True,
        },
    )
