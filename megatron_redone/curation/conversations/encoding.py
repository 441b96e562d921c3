"""The work of one process of `redone prepare-sft`: records to token ids with loss masks."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from megatron_redone.config.chat_source import OnLostAnswer
from megatron_redone.config.prepare_sft import History, PrepareSFTConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats
from megatron_redone.curation.conversations.conversation import Conversation, content_key
from megatron_redone.curation.conversations.learned_rows import LearnedRows, learned_rows
from megatron_redone.curation.conversations.records import learned_turns, read_conversations
from megatron_redone.curation.conversations.turn_marks import UnknownMarks
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.raw_records import RawRecord
from megatron_redone.tokenization.chat_template import TemplateRefusal
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer, RenderedChat
from megatron_redone.tokenization.turn_spans import CannotBeMasked


class ConversationEncoder:
    """Encodes batches of records."""

    def __init__(self, config: PrepareSFTConfig, template: ChatTemplateFile, now: datetime) -> None:
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
        """The conversations of some records, and the records that have none."""
        result = EncodedBatch(work.batch.file, len(work.batch.records))
        rendered: list[tuple[int, RenderedChat]] = []  # with the content's key
        for record in work.batch.records:
            try:
                conversations = self._read(work, record)
                rows = [self._render(conversation) for conversation in conversations]
                for one in rows:
                    result.lost_parts.update(one.lost)
                check_answers(self._config.on_lost_answer, [one.lost for one in rows])
                keys = [content_key(conversation.text()) for conversation in conversations]
                rendered += [(key, chat) for key, one in zip(keys, rows, strict=True) for chat in one.chats]
                result.with_special_tokens += any(self._special.search(c.text()) for c in conversations)
            except (InvalidRecordError, TemplateRefusal, CannotBeMasked) as error:
                result.add_invalid(record, reason_of(error), unknown_marks(error))
        encoded = self._tokenizer.encode([chat for _, chat in rendered])
        for (key, _), (tokens, mask) in zip(rendered, encoded, strict=True):
            result.items.append(EncodedItem(tokens, mask, (len(tokens),), key))
        return result

    def _read(self, work: RawChats, record: RawRecord) -> list[Conversation]:
        parsed = record.parse()
        assert work.format is not None, "a JSON object, but no format"
        conversations = read_conversations(parsed, work.format, self._config.sources[work.source])
        if self._config.refuse_special_tokens:
            check_no_special_tokens(self._special, conversations)
        return conversations

    def _render(self, conversation: Conversation) -> LearnedRows:
        turns = learned_turns(conversation.messages, self._config.loss_on)
        if turns == []:
            raise InvalidRecordError("nothing in it is to be learned")
        as_generated = self._config.history is History.generated
        rows = learned_rows(self._tokenizer, conversation, turns, as_generated=as_generated)
        if not any(first < stop for chat in rows.chats for first, stop in chat.learned):
            raise InvalidRecordError("nothing in it is to be learned")
        return rows


def special_token_pattern(tokenizer: ChatTokenizer) -> re.Pattern[str]:
    """Matches any special token."""
    return re.compile("|".join(map(re.escape, tokenizer.special_tokens)) or "(?!)")


def check_no_special_tokens(special: re.Pattern[str], conversations: Iterable[Conversation]) -> None:
    """Finds text that would be read as the template's own.

    Raises:
        InvalidRecordError: a special token is written in a conversation.
    """
    if any(special.search(conversation.text()) for conversation in conversations):
        raise InvalidRecordError("a special token is written in its text")


def check_answers(on_lost: OnLostAnswer, lost: Iterable[Counter[str]]) -> None:
    """Refuses a record whose answers are not all there.

    Args:
        on_lost: Whether to refuse it.
        lost: What the answers of each of its conversations have lost.

    Raises:
        InvalidRecordError: naming the kinds of what is lost.
    """
    kinds = sorted({kind for parts in lost for kind in parts})
    if kinds and on_lost is OnLostAnswer.invalid:
        raise InvalidRecordError(f"the chat template leaves out a part of an answer: {', '.join(kinds)}")


def unknown_marks(error: Exception) -> list[str]:
    """The keys that an error is about, where it is about such."""
    return error.names if isinstance(error, UnknownMarks) else []


def reason_of(error: Exception) -> str:
    """Why a record is invalid, with who says so."""
    if isinstance(error, TemplateRefusal):
        return f"the chat template refuses it: {error}"
    return f"its answers cannot be told apart: {error}" if isinstance(error, CannotBeMasked) else str(error)
