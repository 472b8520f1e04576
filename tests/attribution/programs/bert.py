"""Trains a randomly initialised Hugging Face BERT on random tokens; ``small`` or ``base``, eager attention or SDPA."""

from __future__ import annotations

import sys

import torch
from transformers import BertConfig, BertForMaskedLM

SIZES = {
    "small": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "base": {},
}


def main() -> None:
    size, attention, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    vocabulary = {"vocab_size": 1000} if size == "small" else {}
    config = BertConfig(**SIZES[size], **vocabulary, attn_implementation=attention)
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(steps):
        tokens = torch.randint(config.vocab_size, (4, 64))
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
