"""The work of one process of `redone prepare-preferences`: records to token ids with masks on the responses."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from megatron_redone.config.prepare_preferences import PreparePreferencesConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats
from megatron_redone.curation.conversations.conversation import Conversation, content_key
from megatron_redone.curation.conversations.encoding import (
    check_answers,
    check_no_special_tokens,
    reason_of,
    special_token_pattern,
    unknown_marks,
)
from megatron_redone.curation.conversations.learned_rows import LearnedRows, learned_rows
from megatron_redone.curation.conversations.turn_marks import turn_weight
from megatron_redone.curation.pair_formats.pair import PreferencePair
from megatron_redone.curation.pair_formats.records import read_pair
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.raw_records import RawRecord
from megatron_redone.tokenization.chat_template import TemplateRefusal
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer, RenderedChat
from megatron_redone.tokenization.turn_spans import CannotBeMasked

Sequence = tuple[np.ndarray, np.ndarray]  # ids and mask


@dataclass(frozen=True)
class _Rendered:
    """A pair as text, and where it comes from."""

    record: RawRecord
    pair: PreferencePair
    chats: tuple[RenderedChat, RenderedChat]
    has_special_tokens: bool


class PairEncoder:
    """Encodes batches of records."""

    def __init__(self, config: PreparePreferencesConfig, template: ChatTemplateFile, now: datetime) -> None:
        """Loads the tokenizer.

        Args:
            config: The stage's settings.
            template: The chat template.
            now: The time that the template is told.
        """
        self._config = config
        self._tokenizer = ChatTokenizer(config.tokenizer.path, template, config.template_variables, now)
        self._special = special_token_pattern(self._tokenizer)

    def encode(self, work: RawChats) -> EncodedBatch:
        """The pairs of some records, and the records that have none."""
        result = EncodedBatch(work.batch.file, len(work.batch.records))
        rendered = []
        for record in work.batch.records:
            try:
                rendered.append(self._render(work, record, result))
            except (InvalidRecordError, TemplateRefusal, CannotBeMasked) as error:
                result.add_invalid(record, reason_of(error), unknown_marks(error))
        encoded = self._tokenizer.encode([chat for one in rendered for chat in one.chats])
        for one, chosen, rejected in zip(rendered, encoded[::2], encoded[1::2], strict=True):
            try:
                result.items.append(_item(one.pair, chosen, rejected))
                result.with_special_tokens += one.has_special_tokens
                result.unused_responses += one.pair.unused
            except InvalidRecordError as error:
                result.add_invalid(one.record, str(error))
        result.invalid.sort(key=lambda record: record.place)
        return result

    def _render(self, work: RawChats, record: RawRecord, result: EncodedBatch) -> _Rendered:
        parsed = record.parse()
        assert work.format is not None, "a JSON object, but no format"
        pair = read_pair(parsed, work.format, self._config.sources[work.source])
        sides = pair.conversations()
        if self._config.refuse_special_tokens:
            check_no_special_tokens(self._special, sides)
        rows = [self._render_side(side, len(pair.prompt)) for side in sides]
        for one in rows:
            result.lost_parts.update(one.lost)
        check_answers(self._config.on_lost_answer, [one.lost for one in rows])
        has_special_tokens = any(self._special.search(side.text()) for side in sides)
        return _Rendered(record, pair, (rows[0].chats[0], rows[1].chats[0]), has_special_tokens)

    def _render_side(self, conversation: Conversation, prompt: int) -> LearnedRows:
        messages = conversation.messages
        turns = [number for number in range(prompt, len(messages)) if messages[number]["role"] == "assistant"]
        if any(0 < turn_weight(messages[turn]) < 1 for turn in turns):
            raise InvalidRecordError("a weight between 0 and 1, which has no meaning in a pair")
        learned = [turn for turn in turns if turn_weight(messages[turn])]
        if not learned:
            raise InvalidRecordError("a response of which nothing is to be learned")
        return learned_rows(self._tokenizer, conversation, learned)


def _item(pair: PreferencePair, chosen: Sequence, rejected: Sequence) -> EncodedItem:
    """A pair for the dataset.

    Raises:
        InvalidRecordError: nothing is to be learned, the responses are the same for the model, or the prompts are not.
    """
    starts = [int(mask.argmax()) if mask.any() else -1 for _, mask in (chosen, rejected)]
    if -1 in starts:
        raise InvalidRecordError("an empty response")
    if np.array_equal(chosen[0], rejected[0]):
        raise InvalidRecordError("chosen and rejected are the same")
    if starts[0] != starts[1] or not np.array_equal(chosen[0][: starts[0]], rejected[0][: starts[0]]):
        raise InvalidRecordError("the two do not share the tokens of their prompt")
    tokens, mask = (np.concatenate(parts) for parts in zip(chosen, rejected, strict=True))
    key = content_key(Conversation(pair.prompt, pair.tools).text())
    return EncodedItem(tokens, mask, (len(chosen[0]), len(rejected[0])), key, pair.rewards)
