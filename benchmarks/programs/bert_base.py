"""BERT-base (random weights, batch 1, 128 tokens) in training: needs transformers, nothing is downloaded."""

from __future__ import annotations

import argparse

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.programs.measured import add_arguments, run_steps

BATCH = 1
LENGTH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    configuration = BertConfig()
    model = BertForSequenceClassification(configuration)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    tokens = torch.randint(configuration.vocab_size, (BATCH, LENGTH))
    labels = torch.randint(2, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()

    run_steps(step, arguments)


if __name__ == "__main__":
    main()
