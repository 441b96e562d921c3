"""`redone report` on a real run, a real evaluation and a funnel: the page itself, and in a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.cli import main
from megatron_redone.curation.counting import Amount
from megatron_redone.curation.funnel import Row, funnel_json
from tests.helpers import chat_models, small_tokenizer
from tests.helpers.browser import open_page
from tests.helpers.pretrain_runs import figures, pretrain, write_inputs
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.usefixtures("one_thread")

TITLE = "Posts & <numbers>"
MODELS = ("base", "tuned_in_one_step", "final")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before leave: runs/cpt, evaluation/, funnel.json."""
    folder = tmp_path_factory.mktemp("parts")
    keys = [*write_inputs(folder / "inputs"), "training.validate_every=5", f"output_dir={folder}/runs/cpt"]
    [(code, said)] = run_on_ranks(1, pretrain, [key.replace("train_steps=10", "train_steps=40") for key in keys])
    assert code == 0, said
    _evaluate(folder)
    rows = [_row("read", "posts", 100, 0), _row("read", "wiki", 50, 0), _row("exact", "posts", 100, 30),
            _row("exact", "wiki", 50, 1)]  # fmt: skip
    content = {"tokens_counted": False, "rows": funnel_json(rows, tokens=False)}
    (folder / "funnel.json").write_text(json.dumps(content))
    return folder


def _row(step: str, source: str, entered: int, dropped: int) -> Row:
    amounts = [Amount(count, 0, 9 * count) for count in (entered, dropped, entered - dropped)]
    reasons = {"the same text": dropped} if dropped else {}
    return Row(step, source, amounts[0], amounts[1], 0, Amount(), amounts[2], reasons)


def _evaluate(folder: Path) -> None:
    for seed, name in enumerate(MODELS):
        chat_models.write(folder / name, seed=seed)
    lines = [json.dumps({"text": text}) for text in small_tokenizer.TEXT]
    (folder / "posts.jsonl").write_text("\n".join(lines) + "\n")
    models = f"models=[{', '.join(f'{{path: {folder}/{name}}}' for name in MODELS)}]"
    sources = f"held_out=[{{path: {folder}/posts.jsonl, group: social}}]"
    assert main(["evaluate", f"output={folder}/evaluation", models, sources, "device=cpu"]) == 0


@pytest.fixture(scope="module")
def report(parts: Path) -> Path:
    keys = [f"runs={parts}/runs/cpt", f"funnel={parts}/funnel.json", f"evaluation={parts}/evaluation"]
    assert main(["report", f"output={parts}/report", f"title={TITLE}", *keys]) == 0
    return parts / "report"


class _Elements(HTMLParser):
    """Checks that elements close in order, and gathers what would be fetched."""

    VOID = ("meta", "link", "br", "wbr", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_all_parts_and_fetches_nothing(report: Path, parts: Path) -> None:
    page = (report / "report.html").read_text()
    elements = _Elements(page)
    assert elements.open == []
    assert all(target.startswith(("#", "data:")) for target in elements.fetched), elements.fetched
    assert "url(" not in page and "@import" not in page
    text = " ".join(" ".join(elements.text).split())
    loss = figures(parts / "runs" / "cpt", "validation/held_out/loss")
    assert TITLE in text and f"{loss[0]:.3f} → {loss[40]:.3f}" in text
    for part in ("Social text", "posts", "bits per byte", "119 of 150", "the same text", "seq_length: 32", "torch"):
        assert part in text, part


def test_json_and_markdown_say_the_same(report: Path, parts: Path) -> None:
    content = json.loads((report / "report.json").read_text())
    [run] = content["runs"]
    loss = figures(parts / "runs" / "cpt", "validation/held_out/loss")
    assert run["validation"]["held_out"]["loss"] == {"first": loss[0], "last": loss[40]}
    assert run["steps"] == 40 and run["tokens"] == figures(parts / "runs" / "cpt", "consumed_tokens")[40]
    evaluation = json.loads((parts / "evaluation" / "evaluation.json").read_text())
    assert content["evaluation"] == evaluation["metrics"]
    markdown = (report / "report.md").read_text()
    assert f"{loss[0]:.3f} → {loss[40]:.3f}" in markdown and f"{evaluation['metrics'][0]['value']:.3f}" in markdown
    assert "| exact | 119 | 31 |" in markdown


PROBE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const canvas = document.querySelector(".canvas"), box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 1, clientY: box.top + 5 }));
  const wide = (shape) => [...document.querySelectorAll(shape)].map((one) => one.getBoundingClientRect().width);
  parent.postMessage(JSON.stringify({
    width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth,
    charts: wide(".canvas"), lines: wide("path.line"), lanes: wide(".lane"), pairs: wide(".pairs tbody tr").length,
    dark: getComputedStyle(document.body).backgroundColor, height: box.height,
    tip: canvas.querySelector(".tip").innerText, shown: !canvas.querySelector(".tip").hidden,
  }), "*");
});
</script>
"""
FRAME = """
<script>addEventListener("message", (event) => { document.title = event.data; });</script>
<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
"""


def _looked_at(report: Path, folder: Path, width: int, *flags: str) -> tuple[dict[str, Any], list[str]]:
    """What a browser's page of this width holds, and the console; a frame is as narrow as a phone, a window is not."""
    page = (report / "report.html").read_text()
    (folder / "page.html").write_text(page.replace("</body>", PROBE + "</body>"))
    (folder / "frame.html").write_text(FRAME.replace("{width}", str(width)))
    document, console = open_page(folder / "frame.html", folder / "profile", 1400, *flags)
    match = re.search("<title>(.*?)</title>", document, re.DOTALL)
    assert match is not None, "the page's script did not run to its end"
    return json.loads(match[1].replace("&amp;", "&")), console


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_without_errors(width: int, report: Path, parts: Path, tmp_path: Path) -> None:
    found, console = _looked_at(report, tmp_path, width)
    assert console == [] and found["width"] == width
    assert found["overflow"] <= 0, "the page scrolls sideways"
    assert len(found["charts"]) == 3 and min(found["charts"]) > 150, "losses, learning rate and tokens per second"
    assert len(found["lines"]) >= 4 and min(found["lines"]) > 50 and found["height"] > 100 and found["shown"]
    assert len(found["lanes"]) == len(MODELS) and found["pairs"] == 3, "of one source"
    last = figures(parts / "runs" / "cpt", "validation/held_out/loss")[40]
    assert "step 40" in found["tip"] and f"validation: held_out {last:.4g}" in found["tip"]


def test_a_broken_page_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<script>nobody.home()</script><img src='missing.png'>")
    _, console = open_page(tmp_path / "page.html", tmp_path / "profile")
    assert any("nobody is not defined" in line for line in console)


def test_the_dark_scheme_is_dark(report: Path, tmp_path: Path) -> None:
    found, console = _looked_at(report, tmp_path, 1280, "--blink-settings=preferredColorScheme=0")
    assert console == [] and found["dark"] == "rgb(15, 17, 21)"


def test_missing_parts_are_left_out_with_a_note(report: Path, parts: Path, tmp_path: Path) -> None:
    keys = [f"output={tmp_path}/report", f"runs=[{parts}/runs/cpt, {parts}/runs/not-yet]"]
    assert main(["report", *keys]) == 0
    text = " ".join(_Elements((tmp_path / "report" / "report.html").read_text()).text)
    assert "Left out" in text and "not-yet: metrics.jsonl cannot be read" in text
    assert "Evaluation: no evaluation.json was named." in text
    assert json.loads((tmp_path / "report" / "report.json").read_text())["evaluation"] is None


def test_nothing_at_all_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"output={tmp_path}"]) == 2
    assert "runs: nothing to report on" in capsys.readouterr().err
    assert main(["report", f"output={tmp_path}", f"funnel={tmp_path}/none.json"]) == 2
    errors = capsys.readouterr().err
    assert "nothing to report on is there yet" in errors and "none.json cannot be read" in errors
    assert not list(tmp_path.iterdir())
