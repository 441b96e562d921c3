"""A Hugging Face directory of SmolLM2-135M's shapes, with random weights and a tokenizer trained on given texts."""

import json
from collections.abc import Iterable
from pathlib import Path

# config.json of HuggingFaceTB/SmolLM2-135M-Instruct.
SHAPES = {
    **{"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    **{"intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5},
    **{"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "tie_word_embeddings": True},
    **{"attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Its chat template, and the same with marks around what the assistant says, which TRL's assistant-only loss needs.
_SYSTEM = "<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n"
_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '" + _SYSTEM + "' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}TURN{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TURN = "{{ message['content'] + '<|im_end|>' }}"
_MARKED_TURN = (
    "{% if message['role'] == 'assistant' %}{% generation %}" + _TURN + "{% endgeneration %}"
    "{% else %}" + _TURN + "{% endif %}"
)
CHAT_TEMPLATE = _TEMPLATE.replace("TURN", _TURN)
MARKED_CHAT_TEMPLATE = _TEMPLATE.replace("TURN", _MARKED_TURN)
# Without the line break behind the last turn: TRL's preferences take all behind the prompt as the response.
_BREAK = "{{ '\\n' }}{% endfor %}"
_BREAK_BETWEEN = "{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"
CHAT_TEMPLATE_WITHOUT_END = CHAT_TEMPLATE.replace(_BREAK, _BREAK_BETWEEN)


def write(folder: Path, texts: Iterable[str]) -> Path:
    """Writes the directory and returns it."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES), dtype=torch.float32)
    model.save_pretrained(folder)
    _write_tokenizer(folder, texts)
    return folder


def _write_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPES["vocab_size"], special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "TokenizersBackend", "eos_token": SPECIAL[2], "pad_token": SPECIAL[2]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
