"""What software is there, whether it works, and what the missing parts would bring."""

import enum
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

_PROBE_SECONDS = 120


class State(enum.Enum):
    """How a part stands."""

    fine = "fine"
    missing = "missing"
    broken = "broken"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of software.

    Attributes:
        name: For people.
        version: What is installed; None where nothing is.
        state: Whether it can be used.
        required: Whether nothing runs without it.
        brings: What it is for.
        remedy: How to get or mend it; empty where it is fine.
    """

    name: str
    version: str | None
    state: State
    required: bool
    brings: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A package that this project can use.

    Attributes:
        package: Its name for pip.
        brings: What it is for.
        required: Whether nothing runs without it.
        get: How to install it.
        wanted: Its versions, where this project's own requirements do not name them.
        extra: The extra of this project that names it, where it needs all that this extra names.
        imported: A module whose import shows that it works, where being installed says too little and nothing else
            here would show it.
    """

    package: str
    brings: str
    required: bool = False
    get: str = ""
    wanted: str = ""
    extra: str = ""
    imported: str | None = None


_NGC = "use NVIDIA's PyTorch image, which has it, or "
_KNOWN = [
    _Known(package="torch", brings="all computation", required=True, get="pip install torch"),
    _Known(
        package="megatron-core", brings="the training engine", required=True, get="pip install -e .",
    ),
    _Known(package="tokenizers", brings="text to tokens", required=True, get="pip install -e ."),
    _Known(package="gigatoken", brings="tokenize's fast path, some ten times faster", get="pip install gigatoken"),
    _Known(
        package="transformer-engine", brings="FP8, fused layers and fast attention on CUDA",
        get=f"{_NGC}pip install 'transformer-engine[pytorch]'", imported="transformer_engine.pytorch",
        wanted=">=2.9,<2.12",  # as megatron-core 0.16's own extra says; 0.19 names none
    ),
    _Known(
        package="apex", brings="fused optimizer and gradient accumulation on CUDA, where Transformer Engine is not",
        get=f"{_NGC}build it from github.com/NVIDIA/apex", imported="apex",
    ),
    _Known(package="transformers", brings="verify, evaluate, generation", get="pip install -e '.[evaluation]'"),
    _Known(
        package="lm_eval", brings="benchmarks of evaluate", get="pip install -e '.[evaluation]'", extra="evaluation",
    ),
    _Known(package="pypinyin", brings="its benchmark harm", get="pip install -e '.[harm]'", extra="harm"),
    _Known(package="datatrove", brings="curate", get="pip install -e '.[curation]'", extra="curation"),
    _Known(package="ray", brings="curate on several machines by executor=ray", get="pip install -e '.[ray]'"),
    _Known(package="scipy", brings="optimize-mixture", get="pip install -e '.[mixture]'"),
    _Known(package="lightgbm", brings="trees among its regressions", get="pip install -e '.[mixture]'"),
    _Known(package="openai", brings="a judge for build-preferences", get="pip install -e '.[judge]'"),
    _Known(package="pyarrow", brings="Parquet input", get="pip install -e '.[data]'"),
    _Known(package="zstandard", brings="zstd input", get="pip install -e '.[data]'"),
    _Known(package="fsspec", brings="input by URL", get="pip install -e '.[data]'"),
    _Known(package="sentencepiece", brings="tokenizer.model files", get="pip install -e '.[tokenizers]'"),
    _Known(package="tiktoken", brings=".tiktoken files", get="pip install -e '.[tokenizers]'"),
    _Known(package="tensorboard", brings="live curves", get="pip install -e '.[tracking]'"),
]  # fmt: skip
_LIBRARY_OF = {"transformer-engine": ("transformer-engine", "transformer_engine", "transformer-engine-torch")}


def inspect_software() -> list[Part]:
    """Python, the packages that count, and every other requirement that is not met."""
    parts = [_python(), *map(_inspect, _KNOWN)]
    named = {known.package for known in _KNOWN}
    return parts + [part for part in _unmet_requirements() if part.name not in named]


def _python() -> Part:
    fine = sys.version_info >= (3, 10)
    return Part(
        name="python",
        version=platform.python_version(),
        state=State.fine if fine else State.broken,
        required=True,
        brings="",
        remedy="" if fine else "install Python 3.10 or later",
    )


def _inspect(known: _Known) -> Part:
    found = _installed(known.package)
    state, remedy = State.fine, ""
    if found is None:
        state, remedy = State.missing, known.get
    elif (wanted := _range_of(known)) is not None and not wanted.contains(found, prereleases=True):
        state, remedy = (
            State.broken,
            f"this project needs {known.package}{wanted}: pip install '{known.package}{wanted}'",
        )
    elif known.extra and (lacking := [other.name for other in _unmet(known.extra)]):
        state, remedy = State.broken, f"it needs {', '.join(lacking)}, too: {known.get}"
    elif known.imported is not None and (error := import_error(known.imported)) is not None:
        state, remedy = State.broken, f"its import fails: {error}"
    return Part(
        name=known.package,
        version=found,
        state=state,
        required=known.required,
        brings=known.brings,
        remedy=remedy,
    )


def _installed(package: str) -> str | None:
    for name in _LIBRARY_OF.get(package, (package,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _requirements(extra: str = "") -> Iterator[Any]:
    """What this project's own metadata asks for without any extra, or besides for one; none where pip has none."""
    try:
        from packaging.requirements import Requirement

        texts = requires("megatron_redone") or []
    except (ImportError, PackageNotFoundError):
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        asked_by = next((name for name in ("", extra) if marker is None or marker.evaluate({"extra": name})), None)
        if asked_by == extra:
            yield requirement


def _range_of(known: _Known) -> Any:
    requirements = [*_requirements(), *(_requirements(known.extra) if known.extra else [])]
    own = next((requirement.specifier for requirement in requirements if requirement.name == known.package), None)
    if own is not None or not known.wanted:
        return own
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(known.wanted)


def _unmet(extra: str = "") -> Iterator[Any]:
    for requirement in _requirements(extra):
        found = _installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            yield requirement


def _unmet_requirements() -> Iterator[Part]:
    for requirement in _unmet():
        found = _installed(requirement.name)
        yield Part(
            name=requirement.name,
            version=found,
            state=State.missing if found is None else State.broken,
            required=True,
            brings="a requirement of this project",
            remedy=f"pip install '{requirement.name}{requirement.specifier}'",
        )


def import_error(module: str) -> str | None:
    """The last line of what importing a module says, in a process of its own; None where it works."""
    done = _python_says(f"import warnings; warnings.simplefilter('ignore'); import {module}")
    if done is None:
        return f"no answer within {_PROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"it ended with code {done.returncode}"


_TORCH_PROBE = """
import json, torch, torch.distributed as d
has = torch.cuda.is_available()
of = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if has else []
nccl = ".".join(map(str, torch.cuda.nccl.version())) if has and d.is_nccl_available() else None
print(json.dumps({
    "cuda_build": torch.version.cuda, "cuda": has, "gloo": d.is_gloo_available(), "nccl": nccl,
    "gpus": [{"name": p.name, "memory_gb": round(p.total_memory / 1e9, 1), "capability": f"{p.major}.{p.minor}"}
             for p in of],
}))
"""


def probe_torch() -> dict[str, Any] | None:
    """What torch sees: `cuda_build`, `cuda`, `gloo`, `nccl`, `gpus`; None where it cannot be asked."""
    done = _python_says(_TORCH_PROBE)
    if done is None or done.returncode:
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def _python_says(code: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
