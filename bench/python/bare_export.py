"""The least that turns a Hugging Face folder of a text encoder into ONNX with PyTorch's own exporter:
the rival of the benchmark `pytorch`.

    bare_export.py FOLDER OUTPUT
"""

import sys

import torch
from transformers import AutoModel

folder, output = sys.argv[1:]
model = AutoModel.from_pretrained(folder).eval()
tokens = torch.ones(2, 16, dtype=torch.long)
inputs = {
    "input_ids": tokens,
    "attention_mask": torch.ones_like(tokens),
    "token_type_ids": torch.zeros_like(tokens),
}
batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
torch.onnx.export(
    model,
    (),
    output,
    kwargs=inputs,
    dynamic_shapes={name: {0: batch, 1: sequence} for name in inputs},
    dynamo=True,
)
