"""Requests of different lengths in one batch: padded for the model, cut again for the caller, and never by guess."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deepseek_prof.errors import BatchOutputError, UsageError
from deepseek_prof.serving import DynamicBatcher, Padding
from deepseek_prof.serving.batching import Batching
from tests.support.serving import WAIT_S, result

VALUES = {"tokens": 0, "mask": 0}


class Encoder(nn.Module):
    """Attention over the tokens that the mask has; states (rows, length, 16) and their mean (rows, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.lengths: list[int] = []

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        self.lengths.append(tokens.shape[1])
        states = self.layer(self.embedding(tokens), src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(-1).to(states.dtype)
        return {"states": states, "mean": (states * weights).sum(1) / weights.sum(1)}


def asked(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(1, 50, (rows, length)), torch.ones(rows, length, dtype=torch.int64)


def padding(**options: Any) -> Padding:
    return Padding(VALUES, **{"output_dim": {".states": 1}, **options})


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().eval()


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 16)), min_size=1, max_size=6),
    buckets=st.sampled_from([(), (16,), (4, 8, 16)]),
    to_bucket=st.booleans(),
)
def test_results_are_those_of_single_calls(
    shapes: list[tuple[int, int]], buckets: tuple[int, ...], to_bucket: bool
) -> None:
    torch.manual_seed(len(shapes))
    encoder = Encoder().eval()
    batching = Batching(encoder, padding(buckets=buckets, pad_to_bucket=to_bucket and bool(buckets)))
    calls = [asked(*shape) for shape in shapes]
    inputs = [batching.inputs((), {"tokens": tokens, "mask": mask}) for tokens, mask in calls]
    with torch.inference_mode():
        for key in {each.key for each in inputs}:
            alike = [index for index, each in enumerate(inputs) if each.key == key]
            for index, found in zip(alike, batching.run([inputs[index] for index in alike]), strict=True):
                expected = encoder(*calls[index])
                assert found["states"].shape == expected["states"].shape
                torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("to_bucket", "lengths"), [(True, [8, 16]), (False, [7, 12])])
def test_lengths_of_one_bucket_share_a_batch(encoder: Encoder, to_bucket: bool, lengths: list[int]) -> None:
    encoder.lengths.clear()
    sorted_in = padding(buckets=(8, 16), pad_to_bucket=to_bucket)
    with DynamicBatcher(encoder, max_batch=2, max_wait_s=10 * WAIT_S, padding=sorted_in) as batcher:
        futures = [batcher.submit(*asked(1, length)) for length in (3, 12, 7, 9)]
        assert [result(each)["states"].shape[1] for each in futures] == [3, 12, 7, 9]
    assert encoder.lengths == lengths


def test_without_buckets_the_longest_of_the_batch_counts(encoder: Encoder) -> None:
    encoder.lengths.clear()
    with DynamicBatcher(encoder, max_batch=3, max_wait_s=10 * WAIT_S, padding=padding()) as batcher:
        futures = [batcher.submit(*asked(1, length)) for length in (3, 11, 7)]
        assert [result(each)["states"].shape[1] for each in futures] == [3, 11, 7]
    assert encoder.lengths == [11]


def test_by_position_and_by_name_is_the_same(encoder: Encoder) -> None:
    batching = Batching(encoder, padding())
    tokens, mask = asked(1, 5)
    keys = {
        batching.inputs(args, kwargs).key
        for args, kwargs in (
            ((tokens, mask), {}),
            ((tokens,), {"mask": mask}),
            ((), {"mask": mask, "tokens": tokens}),
        )
    }
    assert len(keys) == 1


def test_a_result_that_happens_to_have_the_size_of_a_bucket_is_not_cut(encoder: Encoder) -> None:
    with DynamicBatcher(encoder, max_batch=1, padding=padding(buckets=(16,), pad_to_bucket=True)) as batcher:
        found = result(batcher.submit(*asked(1, 5)))
    assert found["mean"].shape == (1, 16)


@pytest.mark.parametrize(
    ("output_dim", "message"),
    [
        (1, r"the one tensor, but the model returns \.states, \.mean"),
        ({".state": 1}, r"names \.state, but"),
        ({".states": 2}, "dimension 2 is not the padded one, of length 8"),
        ({".mean": 1}, "dimension 1 is not the padded one"),
        ({".mean": 2}, "dimension 2 is not the padded one"),
    ],
)
def test_output_dims_that_do_not_fit(encoder: Encoder, output_dim: Any, message: str) -> None:
    with (
        DynamicBatcher(encoder, padding=padding(output_dim=output_dim)) as batcher,
        pytest.raises(BatchOutputError, match=message),
    ):
        result(batcher.submit(*asked(1, 8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (asked(1, 17), "length 17 is longer than the largest bucket, 16"),
        ((asked(1, 4)[0], asked(1, 5)[1]), "one length: tokens 4, mask 5"),
        ((torch.ones(2), torch.ones(2)), "dimension 1, which it does not have"),
        ((None, None), "none of them is given"),
        ((asked(1, 4)[0],), "missing a required argument: 'mask'"),
    ],
)
def test_requests_that_cannot_be_padded_are_refused_at_once(
    encoder: Encoder, arguments: tuple[Any, ...], message: str
) -> None:
    with DynamicBatcher(encoder, padding=padding(buckets=(16,))) as batcher, pytest.raises(UsageError, match=message):
        batcher.submit(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": {}}, "needs the arguments"),
        ({"values": VALUES, "dim": 0}, "1 or more"),
        ({"values": VALUES, "buckets": (8, 4)}, "rising order"),
        ({"values": VALUES, "buckets": (0, 4)}, "rising order"),
        ({"values": VALUES, "pad_to_bucket": True}, "needs buckets"),
    ],
)
def test_paddings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Padding(**options)


def test_a_padding_for_another_model_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="no argument input_ids to pad; it has: tokens, mask"):
        DynamicBatcher(encoder, padding=Padding({"input_ids": 0}))


def test_the_arguments_of_a_compiled_model_are_known(encoder: Encoder) -> None:
    compiled = torch.compile(encoder, backend="eager")
    assert Batching(compiled, padding()).inputs((), dict(zip(VALUES, asked(1, 5), strict=True))).length == 5
