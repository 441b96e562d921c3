"""Which files hold a model's weights, and folders in which that is not clear."""

import json
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.model_folders.weight_files import find_weight_files

INDEX = """{"metadata": {}, "weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}"""


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(INDEX if name.endswith("index.json") else "")


def test_shards_come_with_the_names_that_their_index_gives(tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors")
    found = find_weight_files(tmp_path)
    assert not found.pickled and {file.name: names for file, names in found.names.items()} == {
        "model-1-of-2.safetensors": {"a"},
        "model-2-of-2.safetensors": {"b"},
    }


@pytest.mark.parametrize("beside", ["pytorch_model.bin", "consolidated.safetensors", "model.fp16.safetensors"])
def test_what_transformers_does_not_look_at_may_lie_beside(beside: str, tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors", beside)
    assert find_weight_files(tmp_path, allow_pickle=True).names == {tmp_path / "model.safetensors": None}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"no model\.safetensors and no model\.safetensors\.index\.json there"),
        (("pytorch_model.bin",), "pickled weights"),
        (("adapter_model.safetensors",), "is an adapter, and no model; merge it"),
        (("adapter_config.json", "model.safetensors"), "lies beside the weights of a model"),
        (("adapter_model.bin", "pytorch_model.bin"), "lies beside the weights of a model"),
        (("model.safetensors", "model-00001-of-00002.safetensors"), "lies beside model-00001-of-00002"),
        (("model.safetensors", "shard-00001-model-00001-of-00001.safetensors"), "lies beside shard-00001"),
        (("model.safetensors", "model.safetensors.index.json"), r"lies beside model\.safetensors\.index\.json"),
        (
            ("model.safetensors.index.json", "model-1-of-2.safetensors"),
            r"the shard model-2-of-2\.safetensors is missing",
        ),
    ],
)
def test_unclear_folders_are_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        find_weight_files(tmp_path)


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(UserError, match="name a Hugging Face model directory"):
        find_weight_files(tmp_path)


def test_a_shard_that_the_index_does_not_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors.index.json", *(f"model-{number}-of-2.safetensors" for number in (1, 2)))
    write(tmp_path, "model-9-of-9.safetensors")
    with pytest.raises(
        UserError, match=r"the shard model-9-of-9\.safetensors is there, which .*index\.json does not name"
    ):
        find_weight_files(tmp_path)


@pytest.mark.parametrize("shard", ["x" * 5000, "../model-1-of-2.safetensors", "/etc/passwd", "a\0b", ""])
def test_an_index_whose_names_are_no_files_of_the_folder_is_refused(shard: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.weight": shard}}))
    with pytest.raises(UserError) as error:
        find_weight_files(tmp_path)
    assert len(str(error.value).splitlines()) == 1
