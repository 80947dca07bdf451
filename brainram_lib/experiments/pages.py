"""Tables in Markdown pages, filled in from saved records, so that no page holds other numbers than results/.

A page says where: everything between `<!-- show table1 -->` (or `<!-- claims table1 -->`) and `<!-- end -->` is
replaced by what the command of that name prints with `--markdown`: for `show` the scores and the differences; `scores
table1` gives the scores alone. `--subjects 1 2` may follow the name, as in the command.
"""

from __future__ import annotations

import re
from pathlib import Path

from brainram_lib.core.files import write_whole
from brainram_lib.experiments.claims import claim_table
from brainram_lib.experiments.results import RESULTS
from brainram_lib.experiments.shown import saved, tables

COMMITTED = RESULTS / "mini"
SHOW, SCORES, CLAIMS = "show", "scores", "claims"
_TABLES = {SHOW: 2, SCORES: 1}
_WHICH = r"([\w-]+)(?: --subjects((?: \d+)+))?"
_BLOCK = re.compile(rf"(<!-- ({SHOW}|{SCORES}|{CLAIMS}) {_WHICH} -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, results: Path = COMMITTED) -> str:
    """The page with its tables as the records in `results` give them.

    Raises:
        ExperimentError: a block names an experiment that is not there, or has no records.
    """
    return _BLOCK.sub(lambda one: f"{one[1]}\n{_printed(one[2], one[3], one[4], results)}\n\n{one[5]}", page)


def _printed(what: str, name: str, subjects: str | None, results: Path) -> str:
    experiment, records = saved(name, None, results, results)
    records = records.of_runs(None if subjects is None else [int(one) for one in subjects.split()])
    made = [claim_table(experiment, records)] if what == CLAIMS else tables(experiment, records)[: _TABLES[what]]
    return "\n\n".join(table.markdown().strip() for table in made)


def fill(path: Path, results: Path = COMMITTED) -> bool:
    """Fill a page in place; returns whether anything changed."""
    page = path.read_text(encoding="utf-8")
    new = filled(page, results)
    if new != page:
        with write_whole(path) as partial:
            partial.write_text(new, encoding="utf-8")
    return new != page
