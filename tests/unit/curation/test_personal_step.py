"""Placeholders in posts and comments; counts and samples that do not depend on tasks."""

from pathlib import Path

import pytest

pytest.importorskip("datatrove")
pytest.importorskip("phonenumbers")

from datatrove.data import Document

from megatron_redone.config.curate import PERSONAL_KINDS, PersonalDataConfig
from megatron_redone.curation.personal_data import PLACEHOLDERS
from megatron_redone.curation.personal_step import MaskPersonalData, gather_found
from megatron_redone.curation.post_filter import Renderer
from megatron_redone.curation.posts import parse_post

RENDERER = Renderer(True, None)


def documents(number: int) -> list[Document]:
    made = []
    for i in range(number):
        record = {"title": f"mail {i}@example.com", "text": "hello", "comments": [f"or call +1 415-555-{2600 + i}"]}
        document = Document("", str(i), metadata={"source": "posts", "post": parse_post(record)})
        RENDERER(document)
        made.append(document)
    return made


def test_titles_and_comments_are_masked_too(tmp_path: Path) -> None:
    step = MaskPersonalData(PersonalDataConfig(), tmp_path, RENDERER)
    [document] = step.run(iter(documents(1)))
    assert document.text == "mail [email]\nhello\n\n- or call [phone number]"


def test_counts_and_samples_do_not_depend_on_tasks(tmp_path: Path) -> None:
    results = []
    for tasks in (1, 3):
        step = MaskPersonalData(PersonalDataConfig(samples=4), tmp_path / str(tasks), RENDERER)
        for rank in range(tasks):
            list(step.run(iter(documents(30)[rank::tasks]), rank, tasks))
        results.append(gather_found(tmp_path / str(tasks), 4))
    assert results[0] == results[1]
    assert results[0]["counts"] == {"email": 30, "phone": 30}
    assert [len(shown) for shown in results[0]["samples"].values()] == [4, 4]


def test_every_kind_of_the_configuration_has_a_placeholder() -> None:
    assert set(PERSONAL_KINDS) == set(PLACEHOLDERS)
