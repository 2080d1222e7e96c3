"""Vectors of sentences by a sentence encoder's folder, in PyTorch or from an OpenVINO IR of it.

Reads one line of JSON, {"folder", "sentences", "ir"}, from standard input and prints the vectors of the
sentences, the mean over their tokens scaled to length 1, as JSON. Without an "ir" (a path) PyTorch
computes them in float32.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from transformers import AutoTokenizer


def embed(folder: str, sentences: list[str], ir: str | None) -> list[list[float]]:
    """The vectors of `sentences` by the encoder in `folder`, or by `ir`."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = dict(tokenizer(sentences, padding=True, return_tensors="np"))
    states = _by_pytorch(folder, batch) if ir is None else _by_openvino(ir, batch)
    mask = batch["attention_mask"][..., None].astype(states.dtype)
    mean = (states * mask).sum(1) / mask.sum(1)
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).tolist()


def _by_pytorch(folder: str, batch: dict[str, np.ndarray]) -> np.ndarray:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
        return model(**tensors).last_hidden_state.numpy()


def _by_openvino(ir: str, batch: dict[str, np.ndarray]) -> np.ndarray:
    import openvino

    model = openvino.Core().compile_model(ir, "CPU")
    return model(batch)["last_hidden_state"]


if __name__ == "__main__":
    request = json.loads(sys.stdin.readline())
    print(json.dumps(embed(request["folder"], request["sentences"], request.get("ir"))))
