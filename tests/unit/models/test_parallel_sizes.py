"""Parallel sizes that a model can and cannot be cut into."""

from typing import Any

import pytest

from megatron_redone.architectures import parse_architecture
from megatron_redone.config.parallel import ContextExchange, ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.parallel_sizes import (
    check_micro_batches,
    check_parallel_sizes,
    layers_of_stages,
)
from tests.helpers import hf_models


def qwen2(**changes: Any) -> dict[str, Any]:
    return {**hf_models.hf_config("qwen2_tied").to_dict(), **changes}


@pytest.mark.parametrize(
    ("parallel", "seq_length", "message"),
    [
        ({"tensor_model_parallel_size": 3}, 64, "3 does not divide the model's 4 attention heads"),
        ({"tensor_model_parallel_size": 4}, 64, "4 does not divide the model's 2 key/value heads"),
        ({"pipeline_model_parallel_size": 3}, 64, "4 layers cannot be cut into 3 equal model chunks"),
        (
            {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 4},
            64,
            r"4 layers cannot be cut into 8 equal model chunks \(pipeline 2 x virtual 4\)",
        ),
        (
            {"pipeline_model_parallel_size": 3, "num_layers_in_first_pipeline_stage": 1},
            64,
            "with 1 in the first of 3 stages and an equal share in the last, the model's 4 layers cannot be shared out",
        ),
        ({"pipeline_model_parallel_size": 2, "num_layers_in_last_pipeline_stage": 4}, 64, "4 in the last"),
        (
            {
                "pipeline_model_parallel_size": 2,
                "num_layers_in_first_pipeline_stage": 1,
                "num_layers_in_last_pipeline_stage": 2,
            },
            64,
            "with 1 in the first of 2 stages and 2 in the last",
        ),
        ({"context_parallel_size": 2}, 66, "66 is not a multiple of 4"),
        (
            {
                "tensor_model_parallel_size": 2,
                "context_parallel_size": 2,
                "context_parallel_exchange": ContextExchange.heads,
            },
            64,
            "the 1 key/value heads of a tensor-parallel process cannot be shared out among 2",
        ),
        ({"tensor_model_parallel_size": 2, "sequence_parallel": True}, 65, "65 does not divide into 2 parts"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(parallel: dict[str, Any], seq_length: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_parallel_sizes(parse_architecture(qwen2()), ParallelConfig(**parallel), seq_length)


def test_a_layout_that_fits_is_accepted() -> None:
    sizes = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "context_parallel_size": 2}
    check_parallel_sizes(parse_architecture(qwen2()), ParallelConfig(**sizes, sequence_parallel=True), 64)


@pytest.mark.parametrize(
    ("stages", "first", "last", "counts"),
    [(1, None, None, [4]), (2, None, None, [2, 2]), (2, None, 1, [3, 1]), (2, 1, 3, [1, 3]), (3, 2, None, [2, 1, 1])],
)
def test_layers_of_pipeline_stages(stages: int, first: int | None, last: int | None, counts: list[int]) -> None:
    parallel = ParallelConfig(
        pipeline_model_parallel_size=stages,
        num_layers_in_first_pipeline_stage=first,
        num_layers_in_last_pipeline_stage=last,
    )
    assert layers_of_stages(parse_architecture(qwen2()), parallel) == counts


def test_a_sliding_window_counts_only_where_it_is_switched_on() -> None:
    check_parallel_sizes(parse_architecture(qwen2(sliding_window=16)), ParallelConfig(), 64)
    windowed = parse_architecture(
        qwen2(sliding_window=16, use_sliding_window=True, max_window_layers=0, layer_types=None)
    )
    with pytest.raises(UserError, match="sliding window of 16"):
        check_parallel_sizes(windowed, ParallelConfig(), 64)


def test_an_interleaved_pipeline_takes_micro_batches_in_turns() -> None:
    interleaved = ParallelConfig(pipeline_model_parallel_size=2, virtual_pipeline_model_parallel_size=2)
    check_micro_batches(4, interleaved)
    check_micro_batches(3, ParallelConfig(pipeline_model_parallel_size=2))
    with pytest.raises(UserError, match=r"gives each process 3 micro-batches.* multiple of 2"):
        check_micro_batches(3, interleaved)
