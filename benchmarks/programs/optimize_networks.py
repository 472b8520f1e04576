"""Networks of known size with random weights, called in evaluation: ``python optimize_networks.py NAME``."""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import BertConfig, BertModel, ResNetConfig, ResNetForImageClassification

CALLS = 4
TOKENS = 128


def resnet(depths: tuple[int, ...]) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A ResNet of bottleneck blocks and one image of 224 × 224."""
    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(depths=list(depths), num_labels=1000))
    return model, {"pixel_values": torch.randn(1, 3, 224, 224)}


def bert() -> tuple[torch.nn.Module, dict[str, Any]]:
    """BERT-base without its pooler and a sequence of :data:`TOKENS` tokens."""
    torch.manual_seed(0)
    config = BertConfig()
    model = BertModel(config, add_pooling_layer=False)
    return model, {"input_ids": torch.randint(config.vocab_size, (1, TOKENS))}


def main(name: str) -> None:
    """Call the network some times without gradients."""
    made = {"resnet50": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}
    model, inputs = resnet(made[name]) if name in made else bert()
    model.eval()
    with torch.no_grad():
        for _ in range(CALLS):
            model(**inputs)


if __name__ == "__main__":
    main(sys.argv[1])
