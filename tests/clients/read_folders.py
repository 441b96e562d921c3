"""Reads models' folders as the transformers of this environment does: logits, greedy tokens, ids, texts, a chat.

    python read_folders.py --inputs FILE --to FILE.json [--ctranslate2] FOLDER...

Logits go to FILE.npz, float32 [tokens, vocabulary] by the number of the folder. Runs in an environment of its own, of
any transformers from 4.45 on: it knows nothing of the project. What cannot be read is an error in the answer, no end.
"""

import argparse
import json
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils import logging as their_logging


def read(folder: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What this version makes of a folder.

    Args:
        folder: Of a model.
        inputs: `ids`, a list of whole numbers below one, which choose tokens; `texts`; `messages`.
    """
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    ids = torch.tensor([[int(share * config.vocab_size) for share in inputs["ids"]]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    return {
        "logits": logits.numpy(),
        "greedy": greedy(model, ids[0, :12].tolist(), inputs["new_tokens"]),
        "eos": model.generation_config.eos_token_id,
        "dtype": str(transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto").dtype),
        **read_tokenizer(folder, inputs),
    }


def greedy(model: Any, prompt: list[int], new_tokens: int) -> list[int]:
    """The likeliest token, so many times; no end token stops it."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(new_tokens):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, len(prompt) :].tolist()


def read_tokenizer(folder: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Ids and texts, and the rendered chat."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in inputs["texts"]]
    chat = None
    if tokenizer.chat_template:
        chat = tokenizer.apply_chat_template(inputs["messages"], tokenize=False)
    return {
        "token_ids": ids,
        "decoded": [tokenizer.decode(row) for row in ids],
        "without_special": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
        "special_ids": sorted(set(tokenizer.all_special_ids)),
        "chat": chat,
        "chat_ids": None if chat is None else tokenizer(chat, add_special_tokens=False)["input_ids"],
        "class": type(tokenizer).__name__,
    }


def read_by_ctranslate2(folder: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The greedy tokens of CTranslate2, in 32 bits."""
    import ctranslate2

    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [int(share * config.vocab_size) for share in inputs["ids"]][:12]
    with tempfile.TemporaryDirectory() as work:
        converted = f"{work}/converted"
        ctranslate2.converters.TransformersConverter(folder).convert(converted, quantization="float32")
        generator = ctranslate2.Generator(converted, device="cpu", compute_type="float32")
        result = generator.generate_batch(
            [tokenizer.convert_ids_to_tokens(ids)],
            max_length=inputs["new_tokens"],
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
        )
    return {"greedy": result[0].sequences_ids[0]}


def main() -> None:
    """Reads them all and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--ctranslate2", action="store_true")
    parser.add_argument("folders", nargs="+")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    their_logging.set_verbosity_error()
    inputs = json.loads(arguments.inputs.read_text())
    answers = {}
    for folder in arguments.folders:
        try:
            answers[folder] = (read_by_ctranslate2 if arguments.ctranslate2 else read)(folder, inputs)
        except Exception as error:  # of whatever kind: it is the answer
            last = traceback.extract_tb(error.__traceback__)[-1]
            answers[folder] = {"error": f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"}
    rows = enumerate(answers.values())
    logits = {str(number): answer.pop("logits") for number, answer in rows if "logits" in answer}
    np.savez(arguments.to.with_suffix(".npz"), **logits)
    arguments.to.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
