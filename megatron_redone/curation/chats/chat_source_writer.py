"""The files of one source of chat data: what is trained on, what is held out, and what is invalid."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, Tally
from megatron_redone.curation.chats.chat_data import ChatData, SourceFacts, SourcePlan
from megatron_redone.curation.chats.chat_held_out import HeldOut
from megatron_redone.errors import UserError
from megatron_redone.formats.block_checksums import SUFFIX as CHECKSUMS
from megatron_redone.formats.file_record import record_file
from megatron_redone.formats.input_records import InvalidRecordWriter, invalid_path
from megatron_redone.formats.manifest import manifest_path

# Records after which the fraction of invalid ones is looked at while the run goes on.
_EARLY_CHECK = 10_000


class SourceWriter:
    """Writes the datasets of one source; they appear under their names when `finish` has written all.

    A context manager: leaving it by an error removes what was written. The list of invalid records
    stays where they are the error.
    """

    def __init__(self, data: ChatData, plan: SourcePlan, vocab_size: int, max_invalid: float) -> None:
        """Opens the partial files.

        Args:
            data: Conversations or preferences.
            plan: The source.
            vocab_size: Of the tokenizer.
            max_invalid: The fraction of invalid records that is too much.
        """
        self.tally = Tally()
        self._items: Counter[str] = Counter()
        self._name = plan.source.name
        self._data = data
        self._plan = plan
        self._max_invalid = max_invalid
        self._held_out = HeldOut(plan.source.validation_fraction, plan.source.validation_count)
        self._writers = {split: data.open_writer(prefix, vocab_size) for split, prefix in plan.splits.items()}
        self._invalid = InvalidRecordWriter(invalid_path(plan.prefix))

    def add(self, batch: EncodedBatch, format: Any) -> None:
        """Takes a batch.

        Raises:
            UserError: too many of the records so far are invalid.
        """
        self.tally.add(batch, format)
        for record in batch.invalid:
            self._invalid.add(record)
        trained, held_out = self._held_out.divide(batch.items)
        self._add("train", trained)
        self._add("validation", held_out)
        if self.tally.records >= _EARLY_CHECK:
            self._check_invalid()

    def finish(self, facts: SourceFacts) -> None:
        """Writes all files, those of the dataset to learn from last, and of those the manifest.

        Raises:
            UserError: there is nothing to learn from or nothing held out, or too many records are invalid.
        """
        self._check_invalid()
        self._add("validation", self._held_out.finish())
        self._check_splits()
        manifest_path(self._plan.prefix).unlink(missing_ok=True)  # what is replaced is no longer complete
        if "validation" not in self._writers:
            remove_dataset(self._plan.validation_prefix)
        reports = {"invalid.jsonl": record_file(self._invalid.path)} if self._invalid.finish() else {}
        for split, prefix in self._plan.splits.items():
            summary = self._writers[split].finish()
            own = dataclasses.replace(facts, reports=reports) if split == "train" else facts
            self._data.write_manifest(prefix, split, own, summary, self.tally)

    def __enter__(self) -> "SourceWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            return
        for writer in self._writers.values():
            writer.abandon()
        if kind is UserError and not self._invalid.is_finished:
            self._invalid.finish()  # perhaps they are the error: they are for the user to see
        else:
            self._invalid.abandon()

    def _add(self, split: str, items: Sequence[EncodedItem]) -> None:
        if items:
            self._data.add(self._writers[split], items)
            self._items[split] += len(items)

    def _check_invalid(self) -> None:
        self._check_marks()
        invalid, records = self.tally.invalid.total(), self.tally.records
        if invalid == records or not self._items.total() + self._held_out.kept:
            raise UserError(f"source {self._name}: not one of {records:,} records can be used{self._reasons()}")
        if invalid > self._max_invalid * records:
            raise UserError(
                f"source {self._name}: {invalid:,} of {records:,} records are invalid, more than "
                f"max_invalid={self._max_invalid:g}{self._reasons()}"
            )

    def _check_splits(self) -> None:
        for split in self._plan.splits:
            if not self._items[split]:
                side = "to learn from" if split == "train" else "held out"
                raise UserError(
                    f"source {self._name}: nothing of {self._items.total():,} {self._data.unit} is {side}; "
                    "change validation_fraction or validation_count"
                )

    def _check_marks(self) -> None:
        """Refuses keys that may say what is learned, all at once and however few records have them."""
        unknown = self.tally.unknown_marks
        if unknown:
            names = ", ".join(f"{name} ({number:,} records)" for name, number in sorted(unknown.items()))
            raise UserError(
                f"source {self._name}: keys that look like marks of what is learned, and are not known: {names}; all "
                f"are in {self._invalid.path}; write weight (0 to 1) in their place, or name them in ignored_marks if "
                "they are none"
            )

    def _reasons(self) -> str:
        """The most frequent reasons, where all of them are, and what to do."""
        found = self.tally.invalid.most_common(3)
        reasons = "; ".join(f"{number:,} times: {reason}" for reason, number in found)
        advice = f"; {self._data.answer_advice}" if self.tally.lost_parts else ""
        return f" ({reasons}); all are in {self._invalid.path}{advice}" if reasons else ""


def remove_dataset(prefix: str) -> None:
    """Removes a dataset, its manifest first."""
    indexed = ("idx", "bin", "loss_mask.idx", "loss_mask.bin")
    checksums = (f"{suffix}{CHECKSUMS}" for suffix in indexed)
    for suffix in ("manifest.json", *indexed, *checksums, "loss_weights.npy", "rewards.npy"):
        Path(f"{prefix}.{suffix}").unlink(missing_ok=True)
