"""Writes the Hugging Face folder of a BERT with random weights of a given size in safetensors.

    large_checkpoint.py FOLDER MEGABYTES
"""

import sys

import torch
from transformers import BertConfig, BertModel

folder, megabytes = sys.argv[1], int(sys.argv[2])
WIDTH = 1024
LAYER = 12 * WIDTH * WIDTH
EMBEDDING = 30522 * WIDTH
layers = round((megabytes * 1e6 / 4 - EMBEDDING) / LAYER)
config = BertConfig(
    hidden_size=WIDTH,
    num_hidden_layers=layers,
    num_attention_heads=WIDTH // 64,
    intermediate_size=4 * WIDTH,
)
torch.manual_seed(1)
BertModel(config).save_pretrained(folder)
