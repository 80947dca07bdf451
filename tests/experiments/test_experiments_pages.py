"""Tables in pages are those of the committed records."""

from __future__ import annotations

import pytest

from brainram_lib.experiments.experiment import ExperimentError
from brainram_lib.experiments.pages import fill, filled

PAGE = (
    "Words before.\n\n<!-- show table4 -->\nold\n<!-- end -->\n\nWords after.\n\n<!-- claims table4 -->\n<!-- end -->\n"
)


def test_the_committed_pages_hold_the_committed_records(root):
    pages = [path for path in root.glob("docs/**/*.md") if "<!-- show" in path.read_text()]
    assert "results.md" in [path.name for path in pages]
    for path in pages:
        page = path.read_text()
        assert filled(page) == page, f"run `python -m brainram_lib experiment pages {path.relative_to(root)}`"


def test_a_block_is_replaced_and_the_rest_stays(tmp_path):
    made = filled(PAGE)
    assert made.startswith("Words before.\n\n<!-- show table4 -->\n\n**Table 4") and "\nold\n" not in made
    assert "\n\n<!-- end -->\n\nWords after.\n\n<!-- claims table4 -->\n\n**" in made
    assert "| Average |" in made and filled(made) == made
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert fill(page) and page.read_text() == made and not fill(page)


def test_a_block_may_ask_for_scores_alone():
    both, one = (filled(f"<!-- {what} table4 -->\n<!-- end -->") for what in ("show", "scores"))
    assert "**Difference from" in both and "**Difference from" not in one and "| Average, K = 4 |" in one


def test_a_block_may_ask_for_some_subjects():
    block = "<!-- show table4 --subjects 2 -->\n<!-- end -->"
    made = filled(block)
    assert made.startswith("<!-- show table4 --subjects 2 -->\n") and "fusions, subject 2, seed 0" in made
    assert "subjects 1, 2" not in made and filled(made) == made
    with pytest.raises(ExperimentError, match="none of subjects .7., seeds"):
        filled(block.replace("2", "7"))


def test_an_unknown_experiment_is_named():
    with pytest.raises(ExperimentError, match="nothing_like_it"):
        filled("<!-- show nothing_like_it -->\n<!-- end -->")
