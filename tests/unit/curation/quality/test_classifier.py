"""Classifiers' files as scorers: scikit-learn's own pipelines, fastText's own models, and what is refused."""

import pickle
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from megatron_redone.config.select_quality import ClassifierConfig
from megatron_redone.curation.quality.classifier import open_classifier
from megatron_redone.errors import UserError

GOOD = ["a long walk along the lake", "the museum opens at nine", "we cooked noodles at home"]
BAD = ["click here now", "win cash now click", "free followers click"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    joblib = pytest.importorskip("joblib")
    feature_extraction = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(feature_extraction.TfidfVectorizer(), LogisticRegression(C=100))
    pipeline.fit(GOOD + BAD, [1, 1, 1, 0, 0, 0])
    path = tmp_path_factory.mktemp("classifier") / "good.joblib"
    joblib.dump(pipeline, path)
    return path


def test_the_score_is_the_probability_of_the_label(file: Path) -> None:
    joblib = pytest.importorskip("joblib")
    theirs = joblib.load(file).predict_proba(GOOD + BAD)
    for label in (0, 1):
        score = open_classifier(ClassifierConfig(file=str(file), label=str(label), trusted=True))
        assert score(GOOD + BAD).tolist() == theirs[:, label].tolist()


def test_what_can_run_code_is_read_only_if_trusted(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"classifier\.trusted"):
        open_classifier(ClassifierConfig(file=str(tmp_path / "evil.pkl")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "label", "reason"),
    [
        ("none.joblib", None, "1", "does not exist"),
        ("model.onnx", b"x", "1", "ends in none of"),
        ("broken.joblib", b"x", "1", "cannot be read"),
        ("other.pkl", pickle.dumps([1]), "1", "holds a list"),
        (None, None, "good", "'good' is none of 0, 1"),
    ],
)
def test_other_files_and_labels_are_refused(
    file: Path, tmp_path: Path, name: str | None, content: bytes | None, label: str, reason: str
) -> None:
    path = file if name is None else tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        open_classifier(ClassifierConfig(file=str(path), label=label, trusted=True))


@pytest.fixture(scope="module")
def fasttext_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fasttext = pytest.importorskip("fasttext")
    folder = tmp_path_factory.mktemp("fasttext")
    lines = [f"__label__good {text}\n" for text in GOOD] + [f"__label__bad {text}\n" for text in BAD]
    (folder / "train.txt").write_text("".join(lines * 20))
    model = fasttext.train_supervised(str(folder / "train.txt"), dim=8, epoch=20, minn=2, maxn=4, bucket=500, thread=1)
    model.save_model(str(folder / "model.bin"))
    model.quantize(input=str(folder / "train.txt"))
    model.save_model(str(folder / "model.ftz"))
    return folder / "model.bin"


@pytest.mark.parametrize("suffix", [".bin", ".ftz"])
@pytest.mark.parametrize("label", ["good", "__label__bad"])
def test_the_score_of_fasttext_is_the_probability_of_the_label(
    fasttext_file: Path, suffix: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fasttext_file.with_suffix(suffix)
    library = pytest.importorskip("fasttext")
    monkeypatch.setattr(
        library.FastText, "np", SimpleNamespace(array=lambda values, copy: np.asarray(values))
    )  # numpy 2
    theirs = library.load_model(str(path))
    texts = [*GOOD, *BAD, "", "全く別の文", "two\nlines\n", "\0"]
    scores = open_classifier(ClassifierConfig(file=str(path), label=label))(texts)
    for text, score in zip(texts, scores, strict=True):
        labels, probabilities = theirs.predict(" ".join(text.split()), k=2)
        expected = dict(zip(labels, probabilities, strict=True))
        assert score == pytest.approx(expected["__label__" + label.removeprefix("__label__")], abs=1e-7)
    assert (scores[:3] > 0.5).all() == (label == "good") == (scores[3:6] < 0.5).all()


@pytest.mark.parametrize(
    ("kept", "label", "reason"),
    [
        (0, "good", "cannot be read"),
        (3, "good", "cannot be read"),
        (1000, "good", "gives no probabilities"),
        (None, "fine", "'fine' is none of __label__bad, __label__good"),
    ],
)
def test_damaged_files_of_fasttext_and_other_labels_are_refused(
    fasttext_file: Path, tmp_path: Path, kept: int | None, label: str, reason: str
) -> None:
    (tmp_path / "cut.bin").write_bytes(fasttext_file.read_bytes()[:kept])
    with pytest.raises(UserError, match=reason):
        open_classifier(ClassifierConfig(file=str(tmp_path / "cut.bin"), label=label))


def test_a_model_of_fasttext_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    (tmp_path / "lid.ftz").write_bytes(b"x")
    with pytest.raises(UserError, match="fasttext-predict"):
        open_classifier(ClassifierConfig(file=str(tmp_path / "lid.ftz")))
