"""What the runs read: rows of real posts, and real preference pairs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.pair_rows import RowPlan
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.formats.reference_scores import ReferenceScores
from tools.benchmarks import hh_rlhf, real_text, smollm2_shapes
from tools.benchmarks.real_run import redone

LENGTH, HELD_OUT_ROWS, TRAIN_ROWS = 128, 32, 600  # tokens of a row; rows
PAIRS_A_STEP, HELD_OUT_PAIRS, TRAIN_PAIRS = 2, 64, 200
CHARACTERS, SEQ_LENGTH = 550, 512  # of a pair's record; of a row of pairs


@dataclass(frozen=True)
class Posts:
    """Rows of [1, LENGTH] tokens."""

    train: list[MicroBatch]
    held_out: list[MicroBatch]

    def in_order(self, seed: int, steps: int) -> list[MicroBatch]:
        """The rows of a run, one a step."""
        return random.Random(seed).sample(self.train, steps)


def read_posts(data: Path, model: Path) -> Posts:
    """Posts of people in English, one after the other, as the model's tokenizer cuts them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    texts = list(real_text.documents(data, ["social_en"]))
    random.Random(0).shuffle(texts)
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer.encode(text).ids, end]
        if len(ids) > (TRAIN_ROWS + HELD_OUT_ROWS) * LENGTH:
            break
    rows = [_row(torch.tensor(ids[start : start + LENGTH + 1])) for start in range(0, len(ids) - LENGTH, LENGTH)]
    return Posts(train=rows[HELD_OUT_ROWS:], held_out=rows[:HELD_OUT_ROWS])


def _row(tokens: torch.Tensor) -> MicroBatch:
    return MicroBatch(
        tokens=tokens[:-1].view(1, -1),
        labels=tokens[1:].view(1, -1),
        loss_mask=torch.ones(1, LENGTH),
        position_ids=torch.arange(LENGTH).view(1, -1),
    )


def prepare_pairs(data: Path, model: Path, folder: Path) -> None:
    """Writes the pairs into a folder as JSON lines, for TRL, and prepared."""
    if (folder / "prepared").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    template = folder / "template.jinja"
    template.write_text(smollm2_shapes.CHAT_TEMPLATE_WITHOUT_END)
    pairs = list(hh_rlhf.read(data / "dpo" / "hh_rlhf_harmless_a.jsonl"))
    hh_rlhf.write(pairs, CHARACTERS, TRAIN_PAIRS + HELD_OUT_PAIRS, folder / "pairs.jsonl")
    redone(
        "prepare-preferences",
        f"sources=[{{name: pairs, input: [{folder}/pairs.jsonl]}}]",
        f"output_dir={folder}/prepared",
        f"tokenizer.path={model}",
        f"chat_template={template}",
        "max_invalid=0",
    )


class Pairs:
    """Prepared pairs: the last ones are held out."""

    train = range(TRAIN_PAIRS)
    held_out = range(TRAIN_PAIRS, TRAIN_PAIRS + HELD_OUT_PAIRS)

    def __init__(self, folder: Path, reference: ReferenceScores | None = None) -> None:
        """Opens them, with the scores of a reference where there are some."""
        self.stream = PairStream(
            f"{folder}/prepared/pairs",
            seq_length=SEQ_LENGTH,
            share_prompt=True,
            reference=reference,
        )
        assert self.stream.dropped == 0 and self.stream.pairs == TRAIN_PAIRS + HELD_OUT_PAIRS

    def steps(self, seed: int, steps: int) -> Iterator[list[MicroBatch]]:
        """The micro-batches of a run, by step."""
        order = random.Random(seed).sample(range(TRAIN_PAIRS), TRAIN_PAIRS)
        for step in range(steps):
            yield self.rows(order[step * PAIRS_A_STEP : (step + 1) * PAIRS_A_STEP])

    def rows(self, numbers: list[int]) -> list[MicroBatch]:
        """The micro-batches of some pairs."""
        batch_slice = BatchSlice(global_batch_size=len(numbers), micro_batch_size=1)
        return list(RowPlan(SEQ_LENGTH, ParallelConfig())([(self.stream, number) for number in numbers], batch_slice))
