"""Exports of every family, read by several versions of transformers and by CTranslate2: are they the same model?

    python tests/clients/compare.py --client NAME=PYTHON ... [--ctranslate2 PYTHON] [--export DIR] --work DIR --to FILE

Models are saved by each client, imported and exported by the project in this environment, and read by all clients. What
the client that saved a model makes of it is what the others must make of its export. `--export` adds exports that are
there: transformers in this environment is their reference. tests/clients.sh makes the environments and calls this.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import tokenizers  # noqa: E402
import tokenizers_of_families  # noqa: E402

from megatron_redone.config.export_hf import ExportHFConfig  # noqa: E402
from megatron_redone.config.import_hf import ImportHFConfig  # noqa: E402
from megatron_redone.stages import export_hf, import_hf  # noqa: E402

TOLERANCE = 1e-5  # of the largest logit, or of one
_HERE = Path(__file__).parent
_TEXTS = [
    "The ferry leaves at nine , and don't be late !",
    " 3 trains late, 12345 km  on foot\n\n\tand #travel",
    "周末去了湖边的小店，汤头很鲜 🍜",
    "def area(width, height):\n    return width * height\n",
    "naïve cafe\u0301 <|im_end|> </s>",
    "",
    "1 12 123 1234 12345 3 12 12",
]
_MESSAGES = [{"role": "user", "content": "When does the ferry leave?"}, {"role": "assistant", "content": "At nine."}]


@dataclass(frozen=True)
class Folder:
    """A model's folder that is to be read.

    Attributes:
        name: In the table.
        path: Where it is.
        reference: What is to be read.
    """

    name: str
    path: Path
    reference: dict[str, Any]


def main() -> None:
    """Compares, prints a table and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", action="append", required=True, metavar="NAME=PYTHON")
    parser.add_argument("--ctranslate2", metavar="PYTHON")
    parser.add_argument("--export", action="append", default=[], type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    clients = dict(client.split("=", 1) for client in arguments.client)
    arguments.work.mkdir(parents=True, exist_ok=True)
    inputs = write_inputs(arguments.work / "inputs.json")
    folders = [*make_exports(clients, inputs, arguments.work), *given_exports(arguments.export, inputs)]
    rows = [row for name, python in clients.items() for row in read_all(name, python, folders, inputs)]
    if arguments.ctranslate2:
        rows += read_all("CTranslate2", arguments.ctranslate2, folders, inputs, "--ctranslate2")
    report(rows, arguments.to)


def write_inputs(file: Path) -> Path:
    """What every client is asked."""
    ids = random.Random(1).choices(range(1000), k=48)
    content = {"ids": [number / 1000 for number in ids], "texts": _TEXTS, "messages": _MESSAGES, "new_tokens": 24}
    file.write_text(json.dumps(content))
    return file


def make_exports(clients: dict[str, str], inputs: Path, work: Path) -> list[Folder]:
    """Has each client save its models, and exports them."""
    for kind in tokenizers_of_families.KINDS:
        tokenizers_of_families.write(work / "tokenizers" / kind, kind)
    made = []
    for name, python in clients.items():
        saved = work / "saved" / name
        run(python, "save_inputs.py", "--tokenizers", str(work / "tokenizers"), "--to", str(saved))
        references = ask(python, sorted(saved.iterdir()), inputs)
        for source, reference in references.items():
            reference |= by_tokenizer_json(Path(source), inputs, reference.get("chat"))
            label = f"{Path(source).name} saved by {name}"
            made.append(Folder(label, convert(Path(source), work / "exported" / name), reference))
    return made


def by_tokenizer_json(folder: Path, inputs: Path, chat: str | None) -> dict[str, Any]:
    """What the tokenizers library makes of tokenizer.json: what a model was trained on, whatever a class does to it."""
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [library.encode(text).ids for text in json.loads(inputs.read_text())["texts"]]
    return {
        "token_ids": ids,
        "decoded": [library.decode(row, skip_special_tokens=False) for row in ids],
        "without_special": [library.decode(row) for row in ids],
        "chat_ids": None if chat is None else library.encode(chat, add_special_tokens=False).ids,
    }


def given_exports(exports: Sequence[Path], inputs: Path) -> list[Folder]:
    """Exports that are there already."""
    if not exports:
        return []
    references = ask(sys.executable, exports, inputs)
    return [
        Folder(Path(path).name, Path(path), reference | by_tokenizer_json(Path(path), inputs, reference.get("chat")))
        for path, reference in references.items()
    ]


def convert(source: Path, folder: Path) -> Path:
    """A model's folder in and out; where it came out."""
    checkpoint, output = folder / "checkpoints" / source.name, folder / source.name
    import_hf.run(ImportHFConfig(hf=str(source), output=str(checkpoint)))
    export_hf.run(ExportHFConfig(checkpoint=str(checkpoint), output=str(output)))
    return output


def read_all(client: str, python: str, folders: Sequence[Folder], inputs: Path, *flags: str) -> list[dict[str, Any]]:
    """A row for each folder that a client knows the family of."""
    answers = ask(python, [folder.path for folder in folders], inputs, *flags)
    return [
        {"export": folder.name, "client": client, "difference": difference(folder.reference, answers[str(folder.path)])}
        for folder in folders
        if not is_unknown(answers[str(folder.path)])
    ]


def is_unknown(answer: dict[str, Any]) -> bool:
    """Whether the client is older than the family, or does not have it."""
    unknown = ("does not recognize this architecture", "No conversion is registered", "is not yet implemented")
    return any(text in answer.get("error", "") for text in unknown)


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """What differs, in a few words, or None."""
    if "error" in expected or "error" in found:
        return expected.get("error", found.get("error"))
    if "logits" in found:
        largest = float(np.abs(found["logits"] - expected["logits"]).max())
        if largest > TOLERANCE * max(1.0, float(np.abs(expected["logits"]).max())):
            return f"logits differ by {largest:.1e}"
    names = ("greedy", "eos", "dtype", "token_ids", "decoded", "without_special", "special_ids", "chat", "chat_ids")
    wrong = [name for name in names if name in found and found[name] != expected[name]]
    return f"{', '.join(wrong)} differ" if wrong else None


def ask(python: str, folders: Sequence[Path], inputs: Path, *flags: str) -> dict[str, dict[str, Any]]:
    """What a client reads of each folder."""
    answer = inputs.with_name("answer.json")
    run(python, "read_folders.py", "--inputs", str(inputs), "--to", str(answer), *flags, *map(str, folders))
    answers = json.loads(answer.read_text())
    with np.load(answer.with_suffix(".npz")) as logits:
        for number, content in enumerate(answers.values()):
            content |= {"logits": logits[str(number)]} if str(number) in logits else {}
    return answers


def run(python: str, script: str, *arguments: str) -> None:
    """Runs a script of this folder in an environment; its errors are shown."""
    words = [python, "-W", "ignore", str(_HERE / script), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, cwd=_HERE)
    if done.returncode:
        sys.exit(f"{script} in {python} ended with code {done.returncode}:\n{done.stderr[-4000:]}")


def report(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Prints the table and writes the figures."""
    width = max(len(row["export"]) for row in rows)
    for row in rows:
        print(f"{row['export']:{width}}  {row['client']:20}  {row['difference'] or 'equal'}")
    equal = sum(row["difference"] is None for row in rows)
    print(f"{equal} of {len(rows)} equal")
    file.write_text(json.dumps({"clients": len(rows), "clients_equal": equal, "rows": list(rows)}, indent=1) + "\n")
    sys.exit(equal != len(rows))


if __name__ == "__main__":
    main()
