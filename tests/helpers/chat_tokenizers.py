"""A tokenizer directory for each of the published chat templates in tests/chat_templates.

The vocabulary is that of the tokenizer it is made from; what the templates write besides (`<|eot_id|>`,
`[INST]`) is added to it as special tokens, as the templates' own models have them.
"""

import functools
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

TEMPLATES = Path(__file__).parents[1] / "chat_templates"

_CHATML = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}

# The names of a model's special tokens, and tokens it has besides.
SPECIAL: dict[str, tuple[dict[str, str], list[str]]] = {
    "qwen2_5": (_CHATML, ["<|im_start|>"]),
    "qwen3": (_CHATML, ["<|im_start|>"]),
    "smollm2": ({**_CHATML, "bos_token": "<|im_start|>"}, []),
    "strips_thoughts": (_CHATML, ["<|im_start|>"]),
    "chatml_generation": (_CHATML, ["<|im_start|>"]),
    "llama3": (_LLAMA, ["<|start_header_id|>", "<|end_header_id|>"]),
    "llama3_1": (_LLAMA, ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|python_tag|>"]),
    "mistral": (
        {"bos_token": "<s>", "eos_token": "</s>"},
        [f"[{end}{name}]" for name in ("INST", "TOOL_CALLS", "AVAILABLE_TOOLS", "TOOL_RESULTS") for end in ("", "/")],
    ),
}


def write(folder: Path, source: Path, template: str) -> Path:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja; returns the folder.

    Args:
        folder: It is made.
        source: A directory with the tokenizer.json to build on.
        template: The name of a file in tests/chat_templates, without its ending.
    """
    named, _ = SPECIAL[template]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_with_special_tokens(source / "tokenizer.json"), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder


@functools.lru_cache(maxsize=2)
def _with_special_tokens(file: Path) -> str:
    tokenizer = Tokenizer.from_file(str(file))
    for named, others in SPECIAL.values():
        tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in [*named.values(), *others]])
    return tokenizer.to_str()
