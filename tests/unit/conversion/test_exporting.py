"""Hugging Face to a checkpoint and back in one process: equality, the files around the weights, mistakes."""

import errno
import json
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_redone.architectures import read_architecture
from megatron_redone.architectures.weights import full_weights
from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.conversion import hf_writer, mcore_writer
from megatron_redone.errors import UserError
from megatron_redone.formats.folder_checksums import BlockHasher
from megatron_redone.model_folders import open_model_folder
from megatron_redone.stages import export_hf, import_hf, verify
from tests.helpers import hf_folders
from tests.helpers.round_trips import convert, edit_config

FAMILIES = ("qwen2_tied", "qwen2_untied", "qwen3", "llama3_scaled", "mistral")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("models") / "hf", "qwen2_untied")


@pytest.mark.parametrize("model", FAMILIES)
def test_weights_are_bit_equal(model: str, tmp_path: Path) -> None:
    source = hf_folders.write(tmp_path / "hf", model, torch.bfloat16)
    out = convert(source, tmp_path)
    hf_folders.assert_same(hf_folders.tensors(source), hf_folders.tensors(out))
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == hf_folders.tensors(source).keys()
    for name in ("generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert json_or_text(out / name) == json_or_text(source / name), name
    before, after = (json_or_text(folder / "config.json") for folder in (source, out))
    changed = {key for key in before if after[key] != before[key]}
    # Written out where transformers 5 leaves them to its classes.
    assert changed <= {"rope_parameters", "head_dim"} and read_architecture(out) == read_architecture(source)


def json_or_text(file: Path) -> Any:
    text = file.read_text()
    return json.loads(text) if file.suffix == ".json" else text


@pytest.mark.parametrize(("rows", "tied"), [(151936, True), (152064, False)])
def test_the_row_counts_of_qwen2_5(rows: int, tied: bool, tmp_path: Path) -> None:
    source = hf_folders.write(tmp_path / "hf", "qwen2_tied", vocab_size=rows, tie_word_embeddings=tied, hidden_size=32,
                              num_hidden_layers=1)  # fmt: skip
    out = hf_folders.tensors(convert(source, tmp_path))
    hf_folders.assert_same(hf_folders.tensors(source), out)
    assert out["model.embed_tokens.weight"].shape[0] == rows and ("lm_head.weight" in out) == (not tied)


def test_transformers_loads_the_export_without_a_warning_and_generates(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import transformers

    out = convert(source, tmp_path)
    transformers.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        model, told = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert not any(told.values()), told
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    ids = tokenizer("The ferry leaves", return_tensors="pt").input_ids
    assert model.generation_config.eos_token_id == [2, 5]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    generated = model.generate(ids, max_new_tokens=4, do_sample=False)
    assert generated.shape[1] > ids.shape[1] and tokenizer.decode(generated[0])


def test_a_checkpoint_of_another_shape_or_with_more_weights_is_refused(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path)
    hf = Path(shutil.copytree(tmp_path / "checkpoint/run/hf", tmp_path / "edited"))
    for changes, message in (
        ({"num_hidden_layers": 3, "layer_types": None}, "no Hugging Face tensor"),
        (
            {"num_hidden_layers": 5, "layer_types": None},
            "decoder.layers.4.self_attention.linear_qkv.layer_norm_weight is missing",
        ),
        ({"intermediate_size": 48}, "config.json says"),
        ({"tie_word_embeddings": True}, "holds output_layer.weight"),
    ):
        before = (hf / "config.json").read_text()
        edit_config(hf, **changes)
        with pytest.raises(UserError, match=message):
            export_hf.run(
                ExportHFConfig(
                    checkpoint=str(tmp_path / "checkpoint"), hf_config=str(hf), output=str(tmp_path / "other")
                )
            )
        (hf / "config.json").write_text(before)
    for file in (tmp_path / "checkpoint").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged"):
        export_hf.run(ExportHFConfig(checkpoint=str(tmp_path / "checkpoint"), output=str(tmp_path / "other")))
    assert not list(tmp_path.glob("other*"))


def test_what_is_there_is_not_replaced_unless_told(source: Path, tmp_path: Path) -> None:
    out = convert(source, tmp_path)
    keys = {"checkpoint": str(tmp_path / "checkpoint"), "output": str(out)}
    with pytest.raises(UserError, match="overwrite=true"):
        export_hf.run(ExportHFConfig(**keys))
    export_hf.run(ExportHFConfig(**keys, overwrite=True))
    assert [file.name for file in out.glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("direction", ["import", "export"])
def test_a_full_disk_or_an_interrupt_leaves_nothing(
    direction: str, stop: BaseException, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(source, tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    steps = iter([None] * 3)

    def fail(self: Any) -> None:
        if next(steps, stop) is stop:
            raise stop

    module = mcore_writer if direction == "import" else hf_writer
    monkeypatch.setattr(module.EarlyWriteBack, "step", fail)
    expected = UserError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as error:
        if direction == "import":
            import_hf.run(ImportHFConfig(hf=str(source), output=str(tmp_path / "another")))
        else:
            keys = {"checkpoint": str(tmp_path / "checkpoint"), "output": str(tmp_path / "another")}
            export_hf.run(ExportHFConfig(**keys))
    assert expected is KeyboardInterrupt or "no space is left on the disk" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_model_as_the_quickstart_makes_it_is_read_by_transformers_4(tmp_path: Path) -> None:
    """Saved by transformers 5: `rope_parameters` alone, a class that 4 does not know, a list that stops it."""
    import transformers

    source = hf_folders.write(tmp_path / "hf", "llama3_scaled", rope_parameters=None, rope_theta=1e5)
    named = {"eos_token": "<|im_end|>", "extra_special_tokens": ["<|im_start|>"]}
    file = str(source / "tokenizer.json")
    transformers.PreTrainedTokenizerFast(tokenizer_file=file, **named).save_pretrained(source)
    before = json_or_text(source / "config.json")
    assert "rope_theta" not in before and before["rope_parameters"]["rope_theta"] == 1e5
    assert json_or_text(source / "tokenizer_config.json")["tokenizer_class"] == "TokenizersBackend"
    out = convert(source, tmp_path)
    config, tokenizer = json_or_text(out / "config.json"), json_or_text(out / "tokenizer_config.json")
    assert (config["rope_theta"], config["rope_scaling"], config["torch_dtype"]) == (1e5, None, "float32")
    assert config["rope_parameters"] == before["rope_parameters"]
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["additional_special_tokens"] == ["<|im_start|>"] and "extra_special_tokens" not in tokenizer


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(source, tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_every_damaged_file_of_an_export_is_named(exported: Path, tmp_path: Path, how: str) -> None:
    """By whoever reads all of the model, and by the comparison at rest."""
    names = sorted(path.name for path in exported.iterdir())
    assert {"checksums.json", "tokenizer.json", "chat_template.jinja", "model.safetensors.index.json"} < set(names)
    for name in names:
        copy = Path(shutil.copytree(exported, tmp_path / name))
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 3] ^= 1
        (copy / name).write_bytes(content if how == "flipped" else content[: len(content) // 2])
        if how == "missing":
            (copy / name).unlink()
            if name == "checksums.json":  # as a model of another program: nothing is known, nothing is wrong
                continue
        for read in (read_all, lambda folder: verify.run(VerifyConfig(export=str(folder)))):
            with pytest.raises(UserError, match=rf"/{name}: "):
                read(copy)
    read_all(exported)


def read_all(folder: Path) -> None:
    architecture, weights = open_model_folder(folder)
    for weight in full_weights(architecture).values():
        weights.read_rows_of(weight, 0, weight.shape[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", ""), ("generation_config.json", "{"), ("chat_template.jinja", "{% if %}"), ("config.json", "")],
)
def test_what_cannot_be_parsed_does_not_leave(source: Path, tmp_path: Path, name: str, content: str) -> None:
    hf = Path(shutil.copytree(source, tmp_path / "hf"))
    import_hf.run(ImportHFConfig(hf=str(hf), output=str(tmp_path / "core")))
    (hf / name).write_text(content)
    with pytest.raises(UserError) as caught:
        export_hf.run(ExportHFConfig(checkpoint=str(tmp_path / "core"), hf_config=str(hf), output=str(tmp_path / "x")))
    assert str(hf) in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "x").exists()


def test_of_an_export_what_is_read_is_compared_and_nothing_else(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_writer, "BlockHasher", lambda: BlockHasher(1024))
    out = convert(source, tmp_path)
    (name, last), *_ = sorted((str(file), file.stat().st_size - 1) for file in out.glob("*.safetensors"))
    content = bytearray(Path(name).read_bytes())
    content[last] ^= 1
    Path(name).write_bytes(content)
    architecture, weights = open_model_folder(out)
    with pytest.raises(UserError, match=rf"{Path(name).name}: damaged"):
        read_all(out)
    read = []
    for weight in full_weights(architecture).values():
        with suppress(UserError):
            read.append(weights.read_rows_of(weight, 0, weight.shape[0]))
    assert len(read) == len(full_weights(architecture)) - 1, "only the last tensor of the file is refused"
