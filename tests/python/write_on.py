"""A small decoder with random weights, and what it writes.

Reads one line of JSON, {"folder", "prompt", "tokens"}, from standard input, saves the model to the
folder in the layout of Hugging Face, and prints the ids of the prompt and of `tokens` more, each the
likeliest, as JSON.
"""

from __future__ import annotations

import json
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel


def make_model() -> GPT2LMHeadModel:
    """A seeded model whose answers differ from step to step: its weights are large."""
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=96,
        n_positions=64,
        n_embd=64,
        n_layer=3,
        n_head=4,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


if __name__ == "__main__":
    request = json.loads(sys.stdin.readline())
    model = make_model()
    model.save_pretrained(request["folder"])
    answer = model.generate(
        torch.tensor([request["prompt"]]), max_new_tokens=request["tokens"], do_sample=False
    )
    print(json.dumps(answer[0].tolist()))
