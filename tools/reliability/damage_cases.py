"""What is damaged, by which command it is read, and what its result is: the cases of `damage.py`."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.hashing import short_hash
from tests.helpers import hf_folders, small_tokenizer
from tests.helpers.masked_data import random_conversations, random_pairs, weighted, write_conversations, write_pairs
from tests.helpers.pretrain_runs import VOCAB, write_dataset, write_model
from tools.reliability import forked

_STEP_1, _STEP_2, _STEP_3 = (f"checkpoints/step-{step:08d}" for step in (1, 2, 3))
_APPENDED = (".jsonl", ".txt", ".log")
_ALL_FILES = ("*", ".metadata", "run/*", "run/hf/*")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command that reads files.

    Attributes:
        name: For the results.
        damaged: Patterns of the files, of which one is damaged.
        commands: The arguments of `redone`, of one command after the other, in a copy of the world.
        result: What comes of them, from the copy and from what was said, as a text that can be compared.
        others: Files that may be put in the place of one.
    """

    name: str
    damaged: Sequence[str]
    commands: Callable[[Path], list[list[str]]]
    result: Callable[[Path, str], str]
    others: Callable[[Path, Path], list[Path]]


def build(world: Path) -> None:
    """Makes everything that is damaged later, with the commands that make it, in a process of its own."""
    world.mkdir(parents=True)
    process = forked.start(lambda: _build(world), world / "build.txt")
    status = os.waitpid(process, 0)[1]
    assert status == 0, (world / "build.txt").read_text()


def _build(world: Path) -> int:
    hf_folders.write(world / "hf", "qwen2_tied")
    random = np.random.default_rng(0)
    for name in ("posts", "others"):
        texts = [" ".join(random.choice(" ".join(small_tokenizer.TEXT).split(), 40)) for _ in range(60)]
        (world / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        keys = [f"input={world}/{name}.jsonl", f"output_prefix={world}/{name}", f"tokenizer.path={world}/hf"]
        _redone(world, ["tokenize", *keys, "workers=1"])
    for name, seed in (("run", 1), ("run2", 2)):
        keys = [f"output_dir={world}/{name}", f"init_from={world}/hf", f"data.seed={seed}", "training.train_steps=3"]
        _redone(world, ["pretrain", *_pretrain_keys(world), *keys])
        # As if it had been ended after the second step: with the same learning rates as a run that is not.
        shutil.rmtree(world / name / _STEP_3)
        latest = Path(_STEP_2).name
        (world / name / "checkpoints" / "latest").write_text(f"{latest}\n{short_hash(latest)}\n")
        CheckpointFolder(world / name / "checkpoints").mark_best(1, "validation/loss", 3.0 + seed)
        _redone(world, ["export-hf", f"checkpoint={world}/{name}", f"output={world}/{name}_export"])
    write_model(world / "model")
    write_dataset(world / "plain")
    keys = ["model.precision=fp32", f"model.hf_config={world}/model", f"output_dir={world}/policy"]
    data = [f"data.blend=[{{path: {world}/plain}}]", "data.seq_length=32", "training.train_steps=1"]
    _redone(world, ["pretrain", *keys, *data, *_BATCH])
    for name, seed in (("chats", 3), ("chats2", 4)):
        write_conversations(world / name, weighted(random_conversations([40, 20, 9, 31] * 20, VOCAB, seed)), VOCAB)
    for name, seed in (("pairs", 5), ("pairs2", 6)):
        rewards = np.random.default_rng(seed).random((40, 2)).astype(np.float32)
        write_pairs(world / name, random_pairs(40, VOCAB, seed), VOCAB, rewards)
        keys = [f"init_from={world}/policy", f"data=[{{path: {world}/{name}}}]", "model.precision=fp32"]
        _redone(world, ["score-reference", *keys, "device=cpu"])
    return 0


def _redone(world: Path, arguments: list[str]) -> None:
    ended = forked.redone(arguments, world / "build.log")
    assert ended.code == 0, ended.said


_BATCH = ["device=cpu", "training.global_batch_size=4", "training.micro_batch_size=2", "optimizer.lr=1e-3"]


def _pretrain_keys(world: Path) -> list[str]:
    data = [f"data.blend=[{{path: {world}/posts}}]", f"data.validation=[{{path: {world}/others}}]"]
    more = ["data.seq_length=64", "data.validation_samples=4", "data.isolate_documents=true", "model.precision=fp32"]
    return [*data, *more, *_BATCH, "checkpoint.save_every=1", "checkpoint.keep_last=null"]


def _resume(on_damage: str) -> Callable[[Path], list[list[str]]]:
    def commands(world: Path) -> list[list[str]]:
        keys = [f"output_dir={world}/run", f"init_from={world}/hf", "data.seed=1", "training.train_steps=3"]
        return [["pretrain", *_pretrain_keys(world), *keys, f"checkpoint.on_damage={on_damage}"]]

    return commands


def _begin(source: str) -> Callable[[Path], list[list[str]]]:
    def commands(world: Path) -> list[list[str]]:
        keys = [f"init_from={world}/{source}", f"output_dir={world}/new", "training.train_steps=1"]
        return [["pretrain", *_pretrain_keys(world), *keys]]

    return commands


def _fine_tune(stage: str, prefix: str) -> Callable[[Path], list[list[str]]]:
    def commands(world: Path) -> list[list[str]]:
        data = [f"data.blend=[{{path: {world}/{prefix}}}]", "data.seq_length=96", "model.precision=fp32"]
        keys = [f"init_from={world}/policy", f"output_dir={world}/new", "training.train_epochs=1", *_BATCH]
        return [[stage, *data, *keys]]

    return commands


def _export(checkpoint: str) -> Callable[[Path], list[list[str]]]:
    return lambda world: [["export-hf", f"checkpoint={world}/{checkpoint}", f"output={world}/new"]]


def _verify(*keys: str) -> Callable[[Path], list[list[str]]]:
    return lambda world: [["verify", *(key.replace("WORLD", str(world)) for key in keys)]]


def _trained(run: str, step: int) -> Callable[[Path, str], str]:
    """The weights and the optimizer's state, bit by bit: the checksums of the files that hold them."""

    def result(world: Path, _: str) -> str:
        files = read_checksums(CheckpointFolder(world / run / "checkpoints").of_step(step)).files
        return repr(sorted((name, found) for name, found in files.items() if name.endswith(".distcp")))

    return result


def _exported(world: Path, _: str) -> str:
    digest = hashlib.sha256()
    for file in sorted((world / "new").iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _compared(_: Path, said: str) -> str:
    return "\n".join(line[line.index(word) :] for line in said.splitlines() for word in ("logits: ", "perplexity: ")
                     if word in line)  # fmt: skip


def _whole(*patterns: str) -> Callable[[Path, str], str]:
    """What a comparison at rest calls whole: every byte; of JSON what it says."""

    def result(world: Path, _: str) -> str:
        files = sorted({file for pattern in patterns for file in world.glob(pattern) if file.is_file()})
        return repr([(file.name, _content(file)) for file in files])

    return result


def _content(file: Path) -> str:
    content = file.read_bytes()
    if file.suffix == ".json":
        try:
            return json.dumps({key: value for key, value in json.loads(content).items() if "seal" not in key})
        except (ValueError, AttributeError):
            pass
    return hashlib.sha256(content).hexdigest()


def _of_checkpoint(world: Path, file: Path) -> list[Path]:
    """The same file of another step, and of another run."""
    text = str(file)
    return _existing([Path(text.replace(_STEP_2, _STEP_1)), Path(text.replace(f"{world}/run/", f"{world}/run2/"))])


def _renamed(old: str, new: str) -> Callable[[Path, Path], list[Path]]:
    def others(world: Path, file: Path) -> list[Path]:
        return _existing([world / str(file.relative_to(world)).replace(old, new, 1)])

    return others


def _existing(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if file.is_file()]


def _files_of(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{pattern}" for pattern in _ALL_FILES)


_CHECKPOINT = (*_files_of(f"run/{_STEP_2}"), "run/checkpoints/latest")
_POSTS, _CHATS, _PAIRS = ("posts.bin*", "posts.idx*", "posts.manifest.json"), ("chats.*",), ("pairs.*",)

CASES = (
    Case(name="resume, previous", damaged=_CHECKPOINT, commands=_resume("previous"), result=_trained("run", 3),
         others=_of_checkpoint),
    Case(name="resume, stop", damaged=_CHECKPOINT, commands=_resume("stop"), result=_trained("run", 3),
         others=_of_checkpoint),
    Case(name="init_from a run", damaged=_CHECKPOINT, commands=_begin("run"), result=_trained("new", 1),
         others=_of_checkpoint),
    Case(name="export-hf", damaged=_CHECKPOINT, commands=_export("run"), result=_exported, others=_of_checkpoint),
    Case(name="export-hf of the best", damaged=(*_files_of(f"run/{_STEP_1}"), *["run/checkpoints/best.json"] * 8),
         commands=_export("run/best"), result=_exported, others=_renamed("run/", "run2/")),
    Case(name="verify checkpoint", damaged=_CHECKPOINT, commands=_verify("checkpoint=WORLD/run"),
         result=_whole(*_files_of(f"run/{_STEP_2}")), others=_of_checkpoint),
    Case(name="pretrain", damaged=_POSTS, commands=_begin("hf"), result=_trained("new", 1),
         others=_renamed("posts", "others")),
    Case(name="sft", damaged=_CHATS, commands=_fine_tune("sft", "chats"), result=_trained("new", 20),
         others=_renamed("chats", "chats2")),
    Case(name="dpo", damaged=_PAIRS, commands=_fine_tune("dpo", "pairs"), result=_trained("new", 10),
         others=_renamed("pairs", "pairs2")),
    Case(name="verify conversations", damaged=_CHATS, commands=_verify("dataset=WORLD/chats"), result=_whole(*_CHATS),
         others=_renamed("chats", "chats2")),
    Case(name="verify pairs", damaged=_PAIRS, commands=_verify("dataset=WORLD/pairs"), result=_whole(*_PAIRS),
         others=_renamed("pairs", "pairs2")),
    Case(name="init_from an export", damaged=("run_export/*",), commands=_begin("run_export"),
         result=_trained("new", 1), others=_renamed("run_export", "run2_export")),
    Case(name="verify export", damaged=("run_export/*",), commands=_verify("export=WORLD/run_export"),
         result=_whole("run_export/*"), others=_renamed("run_export", "run2_export")),
    Case(name="transformers", damaged=("run_export/*",),
         commands=_verify("hf=WORLD/run_export", "device=cpu", "seq_length=32", "rows=2"), result=_compared,
         others=_renamed("run_export", "run2_export")),
)  # fmt: skip


def copy_world(world: Path, place: Path) -> None:
    """A copy to damage; what was left of the one before goes. Of files that no command changes the copy is a link."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world, place, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    if source.endswith(_APPENDED):
        shutil.copyfile(source, target)
    else:
        os.link(source, target)
