"""Asks a model that `redone export-hf` wrote, in its chat template, and prints what it says.

python examples/quickstart/ask.py --model work/exports/dpo "first question" "second question"
"""

import argparse

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def main() -> None:
    """Reads the command line and asks one question after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the Hugging Face directory")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="tokens of an answer at most")
    parser.add_argument("questions", nargs="+")
    options = parser.parse_args()
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    for question in options.questions:
        chat = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=options.max_new_tokens, do_sample=False)
        answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        print(f"  {question}\n  > {answer.strip()}\n")


if __name__ == "__main__":
    main()
