"""Small tokenizers of the kinds that the families have: tokenizer.json and tokenizer_config.json, trained here."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = [
    "The ferry leaves at nine, the last one back at half past six; bring a jacket, it's windy on deck.",
    "周末去了湖边的小店，点了两碗面，汤头很鲜，老板还送了一碟小菜。下次还来！",
    "What a day: 3 trains late, 12 km on foot, and the best dumplings of my life. #travel",
    "def area(width, height):\n    return width * height\n",
    "12 123 1234 12 123 3456 12345 12345",
]
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write(folder: Path, kind: str) -> Path:
    """Writes a tokenizer of a kind, one of `KINDS`."""
    tokenizer, config = KINDS[kind]()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"clean_up_tokenization_spaces": False, **config}))
    return folder


def _byte_level(split: str | None, special: list[str], digits: bool = False) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if split is not None:
        steps.append(pre_tokenizers.Split(Regex(split), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 2, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def _qwen2() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    tokenizer = _byte_level(_QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None}
    return tokenizer, {
        **{"tokenizer_class": "Qwen2Tokenizer", "chat_template": _CHATML, "unk_token": None, **named},
        "additional_special_tokens": ["<|im_start|>"],
    }


def _smollm2() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    tokenizer = _byte_level(None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], digits=True)
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    return tokenizer, {"tokenizer_class": "GPT2Tokenizer", "chat_template": _CHATML, "add_prefix_space": False, **named}


def _llama3() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tokenizer = _byte_level(_LLAMA3, special)
    begin = (special[0], tokenizer.token_to_id(special[0]))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[begin]),
        ]
    )
    template = "{{ bos_token }}{% for m in messages %}{{ m.role + '\n\n' + m.content + '<|eot_id|>' }}{% endfor %}"
    named = {"bos_token": special[0], "eos_token": special[2]}
    # As the published ones have it.
    clean = {"clean_up_tokenization_spaces": True}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **named, **clean}


def _llama2() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    alphabet = sorted({character for text in TEXT[:1] + TEXT[2:] for character in text if character not in " \n"})
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=["▁", *alphabet], limit_alphabet=len(alphabet) + 1,
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([text for text in TEXT if text.isascii()] * 4, trainer)
    tokenizer = _with_three_added_tokens(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    template = "{{ bos_token }}{% for m in messages %}{{ '[' + m.role + '] ' + m.content + eos_token }}{% endfor %}"
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    named |= {"add_eos_token": False, "legacy": True}
    return tokenizer, {"tokenizer_class": "LlamaTokenizer", "chat_template": template, **named}


def _with_three_added_tokens(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The bytes are pieces of the vocabulary, as SentencePiece has them, and no special tokens."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def _smollm2_plain() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """As transformers 5 saves it where no family's class is its own: under the class `TokenizersBackend`."""
    tokenizer, config = _smollm2()
    extra = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    return tokenizer, {**config, **extra}


KINDS = {"qwen2": _qwen2, "smollm2": _smollm2, "smollm2_plain": _smollm2_plain, "llama3": _llama3, "llama2": _llama2}
