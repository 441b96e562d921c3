"""What goes wrong with model folders: functions that spoil one, for tools/model_folder_fuzzer.py.

Each takes a sound folder and a random generator, changes files in place and says what it did. Some leave a folder that
means the same, or another model that is sound in itself: whoever reads it must read just that.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Fault = Callable[[Path, Random], str]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"

_NUMBERS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps", "initializer_range", "rope_theta"),
    *("sliding_window", "max_window_layers", "attention_dropout", "eos_token_id", "bos_token_id", "pad_token_id"),
)
_WORDS = (
    *("tie_word_embeddings", "use_sliding_window", "use_cache", "attention_bias", "mlp_bias", "hidden_act"),
    *("model_type", "architectures", "dtype", "torch_dtype", "layer_types", "rope_scaling", "rope_parameters"),
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 7, 64, 10**9, 10**30, 0.0, 0.5, 1.0, 2.0, 64.0, 1e300, -1.5),
    *("", "2", "64", "silu", "gelu", "bfloat16", "float64", "int8", [], [1], ["full_attention"], {}, {"factor": 2.0}),
)
_ROPES: tuple[dict[str, Any], ...] = (
    {},
    {"rope_type": "default"},
    {"type": "default"},
    {"factor": 2.0},
    {"type": "linear"},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": "2.0"},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0},
    {"rope_type": "linear", "type": "yarn", "factor": 2.0},
    {"rope_type": None, "type": "linear", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
    {"rope_type": "nonsense", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10**6, "truncate": False},
    {"rope_type": "yarn", "factor": 4.0, "beta_fast": 1, "beta_slow": 32},
    {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.5},
    {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.5, "low_freq_factor": 1.0},
    {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {
        **{"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 16,
    },
    {
        **{"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0},
        "original_max_position_embeddings": 16,
    },
    {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
)
_ELSEWHERE: tuple[tuple[str, Any], ...] = (
    ("is_causal", False),
    ("is_causal", True),
    ("return_dict", False),
    ("partial_rotary_factor", 0.5),
    ("partial_rotary_factor", 1.0),
    ("original_max_position_embeddings", 16),
    ("attention_chunk_size", 8),
    ("per_layer_config", {"0": {"rms_norm_eps": 0.5}}),
    ("quantization_config", {"quant_method": "fp8"}),
    ("quantization_config", None),
    ("transformers_weights", "other.safetensors"),
    ("configuration_files", ["config.4.0.0.json"]),
    ("text_config", {"hidden_size": 8}),
    ("logits_scaling", 0.5),
    ("embedding_multiplier", 3.0),
    ("final_logit_softcapping", 1.0),
    ("auto_map", {"AutoModelForCausalLM": "modeling.Mine"}),
    ("use_bidirectional_attention", True),
    ("is_encoder_decoder", True),
    ("pretraining_tp", 2),
    ("num_labels", 3),
    ("id2label", {"0": "a"}),
    ("head_dim", 16),
    ("layer_types", ["sliding_attention", "full_attention"]),
    ("layer_types", ["full_attention", "full_attention"]),
    ("use_sliding_window", True),
    ("sliding_window", 32),
)


def faults() -> list[Fault]:
    """Every kind of fault."""
    return [
        *(_leave_a_key_out, _odd_value, _another_number, _swap_two_keys, _key_of_elsewhere, _key_in_other_case),
        *(
            _nest_a_key,
            _rope,
            _odd_rope_value,
            _both_ropes,
            _window,
            _dtypes,
            _class_names,
            _two_values,
            _bad_json,
            _other_family,
        ),
        *(_leave_a_tensor_out, _rename_a_tensor, _add_a_tensor, _reshape_a_tensor, _retype, _prefixes, _head, _tie),
        *(_single_beside_shards, _spoil_a_file, _replace_a_file, _spoil_the_index, _same_tensor_twice, _adapter),
        *(_spoil_a_header, _odd_weights, _other_weights, _generation, _old_tables, _swap_two_tensors, _to_shards),
    ]


def read_json(file: Path) -> dict[str, Any]:
    """An object of a file; none where an earlier fault left no such thing."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(file: Path, content: Any) -> None:
    if file.is_file() or not file.exists():
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _set(folder: Path, **keys: Any) -> str:
    _write_json(folder / "config.json", {**read_json(folder / "config.json"), **keys})
    return f"config.json: {json.dumps(keys)[:120]}"


def _without(folder: Path, *names: str) -> str:
    content = read_json(folder / "config.json")
    _write_json(folder / "config.json", {key: value for key, value in content.items() if key not in names})
    return f"config.json: without {', '.join(names)}"


def _leave_a_key_out(folder: Path, rng: Random) -> str:
    return _without(folder, rng.choice(sorted(read_json(folder / "config.json")) or ["x"]))


def _odd_value(folder: Path, rng: Random) -> str:
    return _set(folder, **{rng.choice(_NUMBERS + _WORDS): rng.choice(_ODD)})


def _another_number(folder: Path, rng: Random) -> str:
    name = rng.choice(_NUMBERS)
    value = read_json(folder / "config.json").get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return _set(folder, **{name: rng.choice((1, 2, 8, 16, 32))})
    changed = rng.choice((value * 2, value + 1, value // 2, -value, float(value), str(value)))
    return _set(folder, **{name: changed})


def _swap_two_keys(folder: Path, rng: Random) -> str:
    content = read_json(folder / "config.json")
    one, other = rng.sample(_NUMBERS, 2)
    return _set(folder, **{one: content.get(other), other: content.get(one)})


def _key_of_elsewhere(folder: Path, rng: Random) -> str:
    name, value = rng.choice(_ELSEWHERE)
    return _set(folder, **{name: value})


def _key_in_other_case(folder: Path, rng: Random) -> str:
    content = read_json(folder / "config.json")
    name = rng.choice(sorted(content) or ["x"])
    _set(folder, **{name.upper(): content.get(name)})
    return f"{name} in capitals; {_without(folder, name)}"


def _nest_a_key(folder: Path, rng: Random) -> str:
    content = read_json(folder / "config.json")
    name = rng.choice(sorted(content) or ["x"])
    place = rng.choice(("rope_parameters", "rope_scaling", "text_config", "generation_config"))
    inner = content.get(place)
    _set(folder, **{place: {**(inner if isinstance(inner, dict) else {}), name: content.get(name)}})
    return f"{name} within {place}; {_without(folder, name)}"


def _rope(folder: Path, rng: Random) -> str:
    """One spelling alone, with or without a base beside it."""
    _without(folder, "rope_parameters", "rope_scaling", "rope_theta")
    keys = {rng.choice(("rope_parameters", "rope_scaling")): rng.choice(_ROPES)}
    return _set(folder, **keys, **rng.choice(({}, {"rope_theta": 500.0}, {"rope_theta": 500}, {"rope_theta": None})))


def _odd_rope_value(folder: Path, rng: Random) -> str:
    content = read_json(folder / "config.json")
    place = "rope_parameters" if isinstance(content.get("rope_parameters"), dict) else "rope_scaling"
    inner = content.get(place) if isinstance(content.get(place), dict) else rng.choice(_ROPES)
    assert isinstance(inner, dict)
    names = ("rope_type", "type", "factor", "rope_theta", "original_max_position_embeddings", "low_freq_factor")
    name = rng.choice((*names, "high_freq_factor", "attention_factor", "beta_fast", "truncate", "mscale"))
    return _set(folder, **{place: {**inner, name: rng.choice((*_ODD, "linear", "yarn", "default", 4.0, 16))}})


def _both_ropes(folder: Path, rng: Random) -> str:
    first, second = rng.choice(_ROPES), rng.choice(_ROPES)
    second = rng.choice((second, first, {**first, "rope_theta": 500.0}))
    return _set(folder, rope_parameters=first, rope_scaling=second, rope_theta=rng.choice((500.0, 10000.0)))


def _window(folder: Path, rng: Random) -> str:
    chosen = {
        "sliding_window": rng.choice((None, 32, 4096, 0, -1, "32")),
        "use_sliding_window": rng.choice((True, False, None)),
        "max_window_layers": rng.choice((0, 1, 2, 28, -1)),
        "layer_types": rng.choice((None, ["full_attention"] * 2, ["sliding_attention"] * 2, ["chunked_attention"] * 2)),
    }
    return _set(folder, **{name: chosen[name] for name in rng.sample(sorted(chosen), rng.randint(1, 4))})


def _dtypes(folder: Path, rng: Random) -> str:
    kinds = ("float32", "bfloat16", "float16", "float8_e4m3fn", "int8", "auto", None)
    return _set(folder, dtype=rng.choice(kinds), torch_dtype=rng.choice(kinds))


def _class_names(folder: Path, rng: Random) -> str:
    names = ("LlamaForCausalLM", "Qwen2Model", "Qwen3ForCausalLM", "MistralForCausalLM", "GPT2LMHeadModel")
    return _set(folder, architectures=rng.choice(([], None, "Qwen2ForCausalLM", [rng.choice(names)])))


def _two_values(folder: Path, rng: Random) -> str:
    """The same key twice in the text; JSON readers take the last."""
    content = read_json(folder / "config.json")
    name = rng.choice(sorted(content) or ["x"])
    text = json.dumps(content)[1:]
    value = rng.choice((content.get(name), rng.choice(_ODD)))
    if (folder / "config.json").is_file():
        (folder / "config.json").write_text(f"{{{json.dumps(name)}: {json.dumps(value)}, {text}", encoding="utf-8")
    return f"config.json: {name} twice"


def _bad_json(folder: Path, rng: Random) -> str:
    name = rng.choice(("config.json", INDEX, "generation_config.json"))
    number = "9" * 5000
    text = rng.choice(
        ("", "{", "[]", "null", "3", "\ufeff{}", '{"rms_norm_eps": NaN}', f'{{"vocab_size": {number}}}', "[" * 10**5)
    )
    if (folder / name).is_file():
        (folder / name).write_text(text, encoding="utf-8")
    return f"{name}: {text[:30]}"


def _other_family(folder: Path, rng: Random) -> str:
    family = rng.choice(("llama", "mistral", "qwen2", "qwen3", "gemma", "Qwen2", "nonsense", ""))
    return _set(folder, model_type=family, **rng.choice(({}, {"architectures": None})))


def weight_files(folder: Path) -> list[Path]:
    """The files of tensors that can still be read."""
    return sorted(file for file in folder.glob("*.safetensors") if file.is_file() and file.stat().st_size > 100)


def _rewrite(folder: Path, rng: Random, change: Callable[[dict[str, torch.Tensor]], None]) -> Path | None:
    """Changes the tensors of one file; an index is put right, so that it is no fault of its own."""
    files = weight_files(folder)
    if not files:
        return None
    file = rng.choice(files)
    try:
        tensors = {name: value.clone() for name, value in load_file(file).items()}
    except Exception:  # an earlier fault
        return None
    before = set(tensors)
    change(tensors)
    _save(file, tensors)
    index = read_json(folder / INDEX)
    if isinstance(index.get("weight_map"), dict) and rng.random() < 0.8:
        kept = {name: where for name, where in index["weight_map"].items() if name not in before - set(tensors)}
        index["weight_map"] = {**kept, **dict.fromkeys(tensors, file.name)}
        _write_json(folder / INDEX, index)
    return file


def _save(file: Path, tensors: Mapping[str, torch.Tensor], framework: str = "pt") -> None:
    if file.is_symlink():
        file.unlink()
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, file, {"format": framework})


def _leave_a_tensor_out(folder: Path, rng: Random) -> str:
    gone = []
    _rewrite(folder, rng, lambda tensors: gone.append(_pop(tensors, rng)))
    return f"without {gone}"


def _pop(tensors: dict[str, torch.Tensor], rng: Random) -> str:
    name = rng.choice(sorted(tensors) or ["x"])
    tensors.pop(name, None)
    return name


def _rename_a_tensor(folder: Path, rng: Random) -> str:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = rng.choice(sorted(tensors))
        new = rng.choice((name.upper(), name + "_", f"model.{name}", name.removeprefix("model."), f"base.{name}"))
        tensors[new] = tensors.pop(name)

    _rewrite(folder, rng, change)
    return "a tensor renamed"


def _add_a_tensor(folder: Path, rng: Random) -> str:
    name = rng.choice(
        (
            *("model.norm.bias", "model.layers.0.self_attn.o_proj.bias", "model.layers.2.mlp.up_proj.weight"),
            *("score.weight", "model.layers.0.self_attn.q_norm.weight", "lm_head.bias", "norm.weight"),
            *("model.layers.0.self_attn.q_proj.bias", "model.layers.7.self_attn.rotary_emb.inv_freq", _HEAD),
        )
    )
    size = rng.choice(((32,), (16,), (8,), (0,), (64, 32), ()))
    _rewrite(folder, rng, lambda tensors: tensors.__setitem__(name, torch.ones(size)))
    return f"{name} of {size} added"


def _reshape_a_tensor(folder: Path, rng: Random) -> str:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = rng.choice(sorted(tensors))
        value = tensors[name]
        ways = (value.t() if value.dim() == 2 else value[None], value.flatten(), value[:-1], value[:0], value[None])
        tensors[name] = rng.choice((*ways, torch.cat([value, value])))

    _rewrite(folder, rng, change)
    return "a tensor of another shape"


def _retype(folder: Path, rng: Random) -> str:
    kinds = (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.float8_e4m3fn, torch.int32, torch.bool)
    kind, every = rng.choice(kinds), rng.random() < 0.5

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in sorted(tensors) if every else [rng.choice(sorted(tensors))]:
            tensors[name] = tensors[name].to(kind)

    _rewrite(folder, rng, change)
    return f"{'all tensors of a file' if every else 'a tensor'} in {kind}"


def _prefixes(folder: Path, rng: Random) -> str:
    """Names of the base model alone, of all files or of one, or with the prefix twice."""
    removed = rng.random() < 0.8

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in sorted(tensors):
            new = name.removeprefix("model.") if removed else f"model.{name}"
            tensors[new] = tensors.pop(name)

    files = weight_files(folder)
    for _ in files if rng.random() < 0.7 else files[:1]:
        _rewrite_in_order(folder, change)
    return f"prefixes {'removed' if removed else 'doubled'}"


def _rewrite_in_order(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    _to_single(folder)
    _rewrite(folder, Random(0), change)


def _to_single(folder: Path) -> None:
    files = weight_files(folder)
    if len(files) < 2:
        return
    try:
        tensors = {name: value for file in files for name, value in load_file(file).items()}
    except Exception:  # an earlier fault
        return
    for file in files:
        file.unlink()
    if (folder / INDEX).is_file():
        (folder / INDEX).unlink()
    _save(folder / SINGLE, tensors)


def _head(folder: Path, rng: Random) -> str:
    """A head beside a tied embedding, instead of it, or none for an untied one."""
    what = rng.choice(("equal", "different", "instead", "none", "another type"))

    def change(tensors: dict[str, torch.Tensor]) -> None:
        value = tensors.get(_EMBEDDING, tensors.get("embed_tokens.weight", torch.zeros(64, 32)))
        tensors[_HEAD] = value.flip(0) if what == "different" else value.clone()
        if what == "instead":
            tensors.pop(_EMBEDDING, None)
        if what == "none":
            tensors.pop(_HEAD)
        if what == "another type":
            tensors[_HEAD] = value.to(torch.bfloat16)

    _rewrite_in_order(folder, change)
    return f"head: {what}"


def _tie(folder: Path, rng: Random) -> str:
    return _set(folder, tie_word_embeddings=rng.choice((True, False, "true", None, 1)))


def _single_beside_shards(folder: Path, rng: Random) -> str:
    if (folder / INDEX).exists():
        tensors = {name: value for file in weight_files(folder) for name, value in _tensors(file).items()}
        _save(folder / SINGLE, {name: value * rng.choice((1, 2)) for name, value in tensors.items()})
        return "a single file beside shards"
    return f"{_to_shards(folder, rng)}, the single file kept"


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except Exception:  # an earlier fault
        return {}


def _to_shards(folder: Path, rng: Random) -> str:
    """One file cut into shards; the index and the file itself stay or go."""
    tensors = _tensors(folder / SINGLE)
    if not tensors:
        return "nothing"
    names = sorted(tensors)
    weight_map = {name: f"model-{number % 3 + 1:05d}-of-00003.safetensors" for number, name in enumerate(names)}
    for file in set(weight_map.values()):
        _save(folder / file, {name: tensors[name] for name in names if weight_map[name] == file})
    if rng.random() < 0.7:
        _write_json(folder / INDEX, {"metadata": {"total_size": 0}, "weight_map": weight_map})
    if rng.random() < 0.5:
        (folder / SINGLE).unlink()
    return "cut into shards"


def _any_file(folder: Path, rng: Random) -> Path:
    names = [*(file.name for file in weight_files(folder)), "config.json", "generation_config.json", INDEX]
    return folder / rng.choice(names)


def _spoil_a_file(folder: Path, rng: Random) -> str:
    file = _any_file(folder, rng)
    if not file.is_file():
        return "nothing"
    content = file.read_bytes()
    middle = len(content) // 2
    spoilt = rng.choice((b"", content[:middle], content[:-8], content + b"\0" * 8, b"\xff" * 64, content[8:]))
    file.unlink()
    file.write_bytes(spoilt)
    return f"{file.name} spoilt: {len(content)} to {len(spoilt)} bytes"


def _replace_a_file(folder: Path, rng: Random) -> str:
    file = _any_file(folder, rng)
    if not file.is_file():
        return "nothing"
    what = rng.choice(("folder", "pipe", "link", "dangling link", "loop", "other case", "gone"))
    moved = folder / f"moved_{file.name}"
    file.rename(moved)
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "link":
        file.symlink_to(moved.name)
    elif what == "dangling link":
        file.symlink_to("nowhere")
    elif what == "loop":
        file.symlink_to(file.name)
    elif what == "other case":
        moved.rename(folder / file.name.upper())
    return f"{file.name} is now: {what}"


def _spoil_the_index(folder: Path, rng: Random) -> str:
    if not (folder / INDEX).is_file():
        _to_shards(folder, rng)
    index = read_json(folder / INDEX)
    names = index.get("weight_map") if isinstance(index.get("weight_map"), dict) else {}
    if not names:
        return "nothing"
    name, other = rng.choice(sorted(names)), rng.choice(sorted(map(str, names.values())))
    changes: dict[str, Any] = {
        "no metadata": {"weight_map": names},
        "metadata is null": {**index, "metadata": None},
        "another shard": {**index, "weight_map": {**names, name: other}},
        "one more": {**index, "weight_map": {**names, "absent": other}},
        "one less": {**index, "weight_map": {key: file for key, file in names.items() if key != name}},
        "a path": {**index, "weight_map": {**names, name: f"./{names[name]}"}},
        "a path out": {**index, "weight_map": {**names, name: f"../{names[name]}"}},
        "a number": {**index, "weight_map": {**names, name: 3}},
        "a list": {**index, "weight_map": sorted(names)},
        "other case": {**index, "weight_map": {**names, name: str(names[name]).upper()}},
        "another suffix": {**index, "weight_map": {**names, name: "model.bin"}},
    }
    what = rng.choice(sorted(changes))
    _write_json(folder / INDEX, changes[what])
    return f"index: {what}"


def _same_tensor_twice(folder: Path, rng: Random) -> str:
    files = weight_files(folder)
    if len(files) < 2:
        _to_shards(folder, rng)
        files = weight_files(folder)
    if len(files) < 2:
        return "nothing"
    one, other = rng.sample(files, 2)
    source, target = _tensors(one), _tensors(other)
    if not source or not target:
        return "nothing"
    name = rng.choice(sorted(source))
    _save(other, {**target, name: source[name] * rng.choice((1, 2))})
    return f"{name} in {one.name} and {other.name}"


def _adapter(folder: Path, rng: Random) -> str:
    name = rng.choice(("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"))
    content = json.dumps(
        {"peft_type": "LORA", "base_model_name_or_path": "other", "r": 4, "target_modules": ["q_proj"]}
    )
    (folder / name).write_text(content if name.endswith("json") else "", encoding="utf-8")
    return f"{name} added"


def _spoil_a_header(folder: Path, rng: Random) -> str:
    """Of a safetensors file, the bytes of its tensors left as they are."""
    files = weight_files(folder)
    if not files:
        return "nothing"
    file = rng.choice(files)
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return "nothing"
    name = rng.choice(sorted(set(header) - {"__metadata__"}) or ["x"])
    entry = header.get(name, {})
    what = rng.choice(("type", "shape", "offsets", "framework", "metadata", "twice", "length"))
    if what == "type":
        header[name] = {**entry, "dtype": rng.choice(("F16", "I32", "F8_E4M3", "X9", None))}
    elif what == "shape":
        header[name] = {**entry, "shape": rng.choice(([], [0], [-1], [2**62, 4], entry.get("shape", [])[::-1]))}
    elif what == "offsets":
        header[name] = {**entry, "data_offsets": rng.choice(([0, 4], [4, 0], [0, 2**60], []))}
    elif what == "framework":
        header["__metadata__"] = {"format": rng.choice(("tf", "flax", "mlx", "np", "pt"))}
    elif what == "metadata":
        header.pop("__metadata__", None)
    text = json.dumps(header)
    if what == "twice":
        text = f"{{{json.dumps(name)}: {json.dumps(entry)}, {text[1:]}"
    claimed = len(text) + (rng.choice((-8, 8, 2**40)) if what == "length" else 0)
    file.write_bytes(max(claimed, 0).to_bytes(8, "little") + text.encode() + content[8 + length :])
    return f"{file.name}: header with another {what}"


def _odd_weights(folder: Path, rng: Random) -> str:
    """Numbers that are none, or very large: read as they are."""
    factor = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))

    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = rng.choice(sorted(tensors))
        if tensors[name].numel() and tensors[name].is_floating_point():
            tensors[name].flatten()[0] *= factor

    _rewrite(folder, rng, change)
    return f"a weight times {factor}"


def _other_weights(folder: Path, rng: Random) -> str:
    """Files of weights that transformers does not look at, or only where there are no others."""
    name = rng.choice(
        (
            *("pytorch_model.bin", "consolidated.safetensors", "model.fp16.safetensors", "training_args.bin"),
            *("model-00009-of-00009.safetensors", "shard-00001-model-00001-of-00001.safetensors"),
        )
    )
    _save(folder / name, {"model.norm.weight": torch.zeros(32)})
    return f"{name} added"


def _generation(folder: Path, rng: Random) -> str:
    ends = rng.choice((None, 1, 63, 64, 10**9, -1, [1, 2], [1, "2"], [], True, "</s>", 1.0, {"a": 1}))
    place = rng.choice(("generation_config.json", "config.json"))
    if place == "config.json":
        return _set(folder, eos_token_id=ends)
    _write_json(folder / place, {**read_json(folder / place), "eos_token_id": ends})
    return f"{place}: eos_token_id {ends}"


def _old_tables(folder: Path, rng: Random) -> str:
    name = f"model.layers.{rng.choice((0, 1, 9))}.self_attn.rotary_emb.inv_freq"
    _rewrite(folder, rng, lambda tensors: tensors.__setitem__(name, torch.ones(4)))
    return f"{name} added"


def _swap_two_tensors(folder: Path, rng: Random) -> str:
    """Another model, sound in itself."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        names = [name for name in sorted(tensors) if ("up_proj" in name or "gate_proj" in name)]
        if len(names) > 1:
            one, other = rng.sample(names, 2)
            tensors[one], tensors[other] = tensors[other], tensors[one]

    _rewrite(folder, rng, change)
    return "two tensors swapped"


def spoil(sound: Path, folder: Path, rng: Random) -> list[str]:
    """Copies a sound folder and spoils the copy, in one to three ways.

    Args:
        sound: Is left as it is.
        folder: Does not exist yet.
        rng: Decides everything.

    Returns:
        What was done.
    """
    shutil.copytree(sound, folder)
    return [_apply(fault, folder, rng) for fault in rng.choices(faults(), k=rng.choice((1, 1, 1, 2, 3)))]


def _apply(fault: Fault, folder: Path, rng: Random) -> str:
    try:
        return fault(folder, rng)
    except OSError as error:  # an earlier fault left a link to nowhere, or a folder
        return f"nothing ({error.strerror})"
