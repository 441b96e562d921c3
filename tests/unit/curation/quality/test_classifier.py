"""Classifiers' files as scorers: scikit-learn's own pipelines, and what is refused."""

import pickle
import sys
from pathlib import Path

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


@pytest.mark.skipif("fasttext" in sys.modules, reason="its library is there")
def test_a_model_of_fasttext_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    if __import__("importlib.util").util.find_spec("fasttext") is not None:
        pytest.skip("its library is there")
    (tmp_path / "lid.ftz").write_bytes(b"x")
    with pytest.raises(UserError, match="fasttext-predict"):
        open_classifier(ClassifierConfig(file=str(tmp_path / "lid.ftz")))
