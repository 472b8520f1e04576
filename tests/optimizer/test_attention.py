"""Pass ``attention``: models of Transformers switched to the fused operator, counted where it is dispatched."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.attention import Attention
from deepseek_prof.optimizer.protocol import Call, Profile
from tests.support.optimizing import apply, captured, perceptron, positional, sqnr_db


def _bert(implementation: str = "eager", **options: Any) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, **options
    )
    return BertModel._from_config(config, attn_implementation=implementation).eval()


def _call(length: int = 16, **options: Any) -> Call:
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, length // 2 :] = 0
    return Call((), {"input_ids": torch.randint(100, (2, length)), "attention_mask": mask, **options})


def test_same_results_on_fresh_inputs_of_mixed_lengths() -> None:
    eager, module = _bert(), _bert()
    with torch.no_grad():
        applied = apply("attention", Attention(), captured(module, _call()))
        for length in (16, 7):
            fresh = _call(length)
            found = applied.call(**fresh.kwargs).last_hidden_state
            assert sqnr_db(eager(**fresh.kwargs).last_hidden_state, found) > 100
        assert applied.fired() == "2 fused attentions a call"


def test_finds_a_model_inside_the_users_own_module() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = _bert(), nn.Linear(64, 2)

        def forward(self, **inputs: Any) -> Any:
            return self.head(self.encoder(**inputs).pooler_output)

    with torch.no_grad():
        assert apply("attention", Attention(), captured(Classifier().eval(), _call())).fired()


def test_does_not_claim_to_have_fired_where_the_call_skips_attention() -> None:
    class Embeddings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = _bert()

        def forward(self, **inputs: Any) -> Any:
            return self.encoder.embeddings(input_ids=inputs["input_ids"])

    with torch.no_grad():
        assert apply("attention", Attention(), captured(Embeddings().eval(), _call())).fired() is None


def test_refuses_what_is_fused_already_and_what_is_no_such_model() -> None:
    refusal = handler("attention").refusal
    assert "no model" in str(refusal(Attention(), captured(_bert("sdpa"), _call())))
    assert "no model" in str(refusal(Attention(), captured(perceptron(), positional(torch.randn(4, 64)))))


def test_refuses_where_the_weights_are_read() -> None:
    refusal = handler("attention").refusal
    assert "attention weights" in str(refusal(Attention(), captured(_bert(), _call(output_attentions=True))))
    assert "attention weights" in str(refusal(Attention(), captured(_bert(output_attentions=True), _call())))


def test_predicts_a_gain_only_where_the_profile_found_attention_in_parts() -> None:
    predicted = handler("attention").predicted_gain
    shares = {"aten::bmm": 0.3, "aten::_softmax": 0.1}
    assert predicted(Attention(), Profile(op_shares=shares)) == 1.0
    assert predicted(Attention(), Profile(op_shares=shares, findings=("unfused-attention",))) == 1 / 0.8
