"""A transformer so small that framework overhead is all there is: about 5,000 records a step of about a microsecond.

The worst case for a recorder: one thread, tiny tensors, ``AdamW`` in its for-loop form. The batch sets how long an
operator takes: a faster machine needs a larger one for the same time a record. It prints nothing and is a plain user's
program; the measured figures go to the file that ``BENCHMARK_RESULT`` names (see ``measured.py``).
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional

from benchmarks.programs.measured import add_arguments, run_steps

WIDTH = 64
LAYERS = 12
VOCABULARY = 64
LENGTH = 16


class Attention(nn.Module):
    """Single-head self-attention over one fused projection."""

    def __init__(self) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.output = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query_key_value(x).unsqueeze(1).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value).squeeze(1)
        output: torch.Tensor = self.output(mixed)
        return output


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.attention = Attention()
        self.mlp_norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        output: torch.Tensor = x + self.mlp(self.mlp_norm(x))
        return output


class TinyTransformer(nn.Module):
    """Embedding, blocks, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.blocks(self.embedding(tokens)))
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--batch", type=int, default=4, help="sequences a step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = TinyTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)
    tokens = torch.randint(VOCABULARY, (arguments.batch, LENGTH))
    targets = torch.randint(VOCABULARY, (arguments.batch * LENGTH,))
    loss_function = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_function(model(tokens).flatten(0, 1), targets).backward()
        optimizer.step()

    run_steps(step, arguments)


if __name__ == "__main__":
    main()
