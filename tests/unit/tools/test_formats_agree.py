"""The short form of tools/formats_agree.py: some dozens of generated records instead of thousands."""

from pathlib import Path

from tools.formats_agree import agree


def test_generated_records_read_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    found = agree(25, tmp_path)
    assert found["formats_differing"] == found["posts_differing"] == found["tracebacks"] == 0
    assert found["conversations"] == found["pairs"] == found["posts"] == 25
    # Enough of each are good, and enough of the posts are not.
    assert found["invalid_conversations"] < 13 and found["invalid_pairs"] < 18 and 3 < found["invalid_posts"] < 24
