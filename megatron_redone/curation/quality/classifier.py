"""A classifier's file as a scorer: the probability of a label for each text.

fastText's own files are read by its library (`fasttext`, or `fasttext-predict`, which reads them only). A
scikit-learn pipeline is a pickle, which can run any code: it is read only where the user says that it is trusted.
"""

from collections.abc import Callable, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.select_quality import ClassifierConfig
from megatron_redone.errors import UserError

Scorer = Callable[[Sequence[str]], np.ndarray]
"""Texts to scores, float64 [N]."""

_FASTTEXT = (".bin", ".ftz")
_PICKLED = (".joblib", ".pkl", ".pickle")
_LABEL = "__label__"


def open_classifier(config: ClassifierConfig) -> Scorer:
    """Reads the file.

    Raises:
        UserError: it is none of these kinds, not trusted, not there, has no such label, or its library is missing.
    """
    assert config.file is not None, "checked by the configuration"
    path = Path(config.file)
    if not path.is_file():
        raise UserError(f"classifier.file: {path} does not exist")
    if path.suffix in _FASTTEXT:
        return _fasttext_scorer(path, config.label)
    if path.suffix in _PICKLED:
        return _pipeline_scorer(path, config)
    raise UserError(f"classifier.file: {path.name} ends in none of {', '.join(_FASTTEXT + _PICKLED)}")


def _fasttext_scorer(path: Path, label: str) -> Scorer:
    if util.find_spec("fasttext") is None:
        raise UserError("fasttext is missing; a model of fastText needs `pip install fasttext-predict`")
    try:
        model = import_module("fasttext").load_model(str(path))
    except ValueError as problem:
        raise UserError(f"classifier.file: {path} cannot be read: {problem}") from None
    wanted = label if label.startswith(_LABEL) else _LABEL + label
    known = _found(model, "a b")
    if not known or not np.isfinite(list(known.values())).all():
        raise UserError(f"classifier.file: {path} gives no probabilities; it is damaged, or no classifier")
    if wanted not in known:
        raise UserError(f"classifier.label: '{label}' is none of {', '.join(sorted(known))}")

    def score(texts: Sequence[str]) -> np.ndarray:
        return np.array([_found(model, " ".join(text.split())).get(wanted, 0.0) for text in texts])

    return score


def _found(model: Any, text: str) -> dict[str, float]:
    # Its own `predict` fails under numpy 2 in most of its releases; this is what that one asks.
    return {label: probability for probability, label in model.f.predict(text + "\n", -1, 0.0, "strict")}


def _pipeline_scorer(path: Path, config: ClassifierConfig) -> Scorer:
    if not config.trusted:
        raise UserError(
            f"classifier.trusted: {path.name} can run any code when it is read; true says that you trust it"
        )
    if util.find_spec("sklearn") is None:
        raise UserError("scikit-learn is missing; this classifier needs `pip install scikit-learn`")
    pipeline = _unpickled(path)
    if not hasattr(pipeline, "predict_proba") or not hasattr(pipeline, "classes_"):
        raise UserError(f"classifier.file: {path.name} holds a {type(pipeline).__name__}, which gives no probabilities")
    labels = [str(label) for label in pipeline.classes_]
    if config.label not in labels:
        raise UserError(f"classifier.label: '{config.label}' is none of {', '.join(labels)}")
    column = labels.index(config.label)
    return lambda texts: np.asarray(pipeline.predict_proba(list(texts)), np.float64)[:, column]


def _unpickled(path: Path) -> Any:
    try:
        return import_module("joblib").load(path)
    except Exception as problem:  # whatever a pickle of another version raises
        raise UserError(f"classifier.file: {path} cannot be read: {type(problem).__name__}: {problem}") from None
