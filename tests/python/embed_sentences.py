"""Vectors of sentences by PyTorch in float32: what a sentence encoder's folder says they are.

Reads one line of JSON, {"folder", "sentences"}, from standard input and prints the vectors of the
sentences, the mean over their tokens scaled to length 1, as JSON.
"""

from __future__ import annotations

import json
import sys

import torch
from transformers import AutoModel, AutoTokenizer


def embed(folder: str, sentences: list[str]) -> list[list[float]]:
    """The vectors of `sentences` by the encoder in `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
    mean = (states * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=1).tolist()


if __name__ == "__main__":
    request = json.loads(sys.stdin.readline())
    print(json.dumps(embed(request["folder"], request["sentences"])))
