"""Mutations break places that are there, and name tests that are there."""

from pathlib import Path

from tools.mutations import REPOSITORY, read_mutations


def test_the_text_of_each_mutation_stands_once() -> None:
    texts: dict[str, str] = {}
    for mutation in read_mutations():
        text = texts.setdefault(mutation.file, (REPOSITORY / mutation.file).read_text(encoding="utf-8"))
        assert text.count(mutation.old) == 1, mutation
        assert mutation.old != mutation.new, mutation


def test_their_tests_are_there() -> None:
    for mutation in read_mutations():
        file, _, name = mutation.test.partition("::")
        assert (REPOSITORY / file).exists(), mutation
        function = name.partition("[")[0].rpartition("::")[2]
        assert not function or f"def {function}(" in Path(REPOSITORY / file).read_text(encoding="utf-8"), mutation
