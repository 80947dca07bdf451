"""Tables: systems as rows, metrics as columns, 'value [low, high]', measured and reported one under the other."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas

from brainram_lib.evaluation.catalogue import Metric, metrics
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.reported import (
    FOOTNOTES,
    IN_BRAINRAM,
    PROVENANCES,
    SECOND_HAND,
    provenance_notes,
    reported_records,
    second_hand,
)

EMBEDDED = "embedded world (mini): not comparable with the paper's numbers"
MISSING = "–"
OVER_IMAGES = "bootstrap interval over images"
BEST = (
    "Bold, or a star: the best of a column, where its interval overlaps that of no other row that competes. "
    "Numbers as printed elsewhere have no interval and no mark."
)
NO_LABELS = Labels()
# A value and its interval stay on one line.
NO_BREAK, ONE_LINE = "\u00a0", 'style="white-space: nowrap"'
# The last three are other signs in LaTeX's own font encoding.
_SIGNS = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
_TEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "%&_#${}"}
    | {sign: f"\\text{name}{{}}" for sign, name in _SIGNS.items()}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "†": r"\dag{}"}
)


@dataclass(frozen=True)
class Section:
    """Rows under one heading: `cells` holds text, systems by metrics; `best` marks cells, of scores as `BEST` says."""

    heading: str
    cells: pandas.DataFrame
    best: pandas.DataFrame


@dataclass(frozen=True)
class ScoreTable:
    """A titled table of sections with footnotes; shows itself in a notebook."""

    title: str
    sections: tuple[Section, ...]
    footnotes: tuple[str, ...] = ()

    def text(self) -> str:
        """Plain text with aligned columns; the best of a column carries a star."""
        blocks = [self.title]
        for section in self.sections:
            marked = section.cells.where(~section.best, section.cells + "*")
            blocks.append(f"[{section.heading}]\n{marked.to_string()}")
        return "\n\n".join(blocks + [_numbered(self.footnotes, "\n")]).rstrip() + "\n"

    def markdown(self) -> str:
        """GitHub's markdown; the best of a column is bold, and no interval breaks over two lines."""
        blocks = [f"**{self.title}**"]
        for section in self.sections:
            together = section.cells.map(lambda text: text.replace(" ", NO_BREAK) if "[" in text else text)
            marked = together.where(~section.best, "**" + together + "**")
            lines = [[section.heading, *marked.columns], ["---"] * (len(marked.columns) + 1)]
            lines += [[str(name), *row] for name, row in zip(marked.index, marked.to_numpy(), strict=True)]
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return "\n\n".join(blocks + [_numbered(self.footnotes, "\n")]).rstrip() + "\n"

    def latex(self) -> str:
        """A LaTeX `tabular` for each section (booktabs); the best of a column is bold."""
        blocks = [f"% {self.title}"]
        for section in self.sections:
            lines = [" & ".join(map(_tex, [section.heading, *section.cells.columns])) + r" \\ \midrule"]
            rows = zip(section.cells.index, section.cells.to_numpy(), section.best.to_numpy(), strict=True)
            for name, texts, marks in rows:
                cells = [rf"\textbf{{{_tex(t)}}}" if best else _tex(t) for t, best in zip(texts, marks, strict=True)]
                lines.append(" & ".join([_tex(str(name)), *cells]) + r" \\")
            columns = "l" * (len(section.cells.columns) + 1)
            body = "\n".join(lines)
            blocks.append(f"\\begin{{tabular}}{{{columns}}} \\toprule\n{body}\n\\bottomrule \\end{{tabular}}")
        return "\n\n".join(blocks + [_numbered((_tex(note) for note in self.footnotes), "\n")]).rstrip() + "\n"

    def html(self) -> str:
        """One HTML table per section; the best of a column is bold."""
        parts = [f"<h4>{html.escape(self.title)}</h4>"]
        parts += [_section_html(section) for section in self.sections]
        parts += [f"<p><small>{i}. {_note_html(note)}</small></p>" for i, note in enumerate(self.footnotes, 1)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return self.html()


def score_table(
    records: Sequence[Record],
    columns: Sequence[Metric],
    title: str,
    *,
    embedded: bool,
    labels: Labels = NO_LABELS,
    paper_table: str | None = None,
    rows: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    over: str = OVER_IMAGES,
) -> ScoreTable:
    """The measured rows, with the rows that the paper and the systems' authors print below them.

    Args:
        records: measured scores.
        columns: the metrics to show, in order.
        title: for example 'Table 1, subject 1'.
        embedded: whether the scores are of the embedded world; the title then says so.
        labels: titles and order of the systems.
        paper_table: '1' to '4' to add the reported rows and the footnotes, or None.
        rows: systems in order; by default as `labels` lists them, then the others as they come.
        notes: further footnotes.
        over: what the intervals are over.
    """
    sections = [measured_section(records, columns, labels, rows=rows)]
    notes = [interval_note(records, over), BEST, *notes]
    if paper_table is not None:
        for provenance in PROVENANCES:
            section = reported_section(paper_table, provenance)
            sections += [section] if len(section.cells) else []
        notes += [*FOOTNOTES[paper_table], *provenance_notes(paper_table)]
    return ScoreTable(f"{title} · {EMBEDDED}" if embedded else title, tuple(sections), tuple(notes))


def measured_section(
    records: Sequence[Record],
    columns: Sequence[Metric],
    labels: Labels = NO_LABELS,
    heading: str = "measured here",
    rows: Sequence[str] | None = None,
    shown: Callable[[Record, Metric], str] | None = None,
) -> Section:
    """Measured scores, 'value [low, high]'. Several subjects or seeds give a row each, named in the row's title.

    `shown`: other text for a cell.
    """
    several = len({(record.subject, record.seed) for record in records}) > 1
    names = {metric.name for metric in columns}
    kept = [record for record in records if record.metric in names and (rows is None or record.system in rows)]
    order = _order(kept, labels, rows)
    kept.sort(key=lambda record: (order[record.system], record.subject, record.seed))
    titles = [_row_title(record, labels, several) for record in kept]
    bounds = {title for title, record in zip(titles, kept, strict=True) if record.system in labels.bounds}
    return _section(heading, kept, titles, columns, bounds, shown or with_interval)


def reported_section(table: str, provenance: str) -> Section:
    """Numbers as printed, in the columns of the paper's table."""
    records = reported_records(table, provenance)
    columns = metrics(dict.fromkeys(record.metric for record in reported_records(table, IN_BRAINRAM)))
    columns = sorted(columns, key=lambda metric: _PAPER_ORDER.index(metric.name))
    quoted = second_hand(table, provenance)
    titles = [f"{one.system} {SECOND_HAND}" if one.system in quoted else one.system for one in records]
    section = _section(provenance, records, titles, columns, set(), _plain)
    return replace(section, best=section.best & False)


_PAPER_ORDER = (
    *("pixcorr", "ssim", "alex2", "alex5", "incep", "clip", "eff", "swav"),
    *("image_retrieval", "brain_retrieval"),
)


def _section(heading, records, titles, columns, bounds, shown) -> Section:
    """Lay records out as text and mark the best of each column among the rows that compete."""
    index = list(dict.fromkeys(titles))
    headings = [metric.heading for metric in columns]
    cells = pandas.DataFrame(MISSING, index=index, columns=headings)
    best = pandas.DataFrame(False, index=index, columns=headings)
    for metric in columns:
        rows = {t: one for one, t in zip(records, titles, strict=True) if one.metric == metric.name}
        for title, one in rows.items():
            cells.loc[title, metric.heading] = shown(one, metric)
        if (ahead := _marked({t: one for t, one in rows.items() if t not in bounds}, metric)) is not None:
            best.loc[ahead, metric.heading] = True
    return Section(heading, cells, best)


def _marked(rows: dict[str, Record], metric: Metric) -> str | None:
    """The best row, if its interval overlaps that of no other; None if it does, or if there is no other."""
    if len(rows) < 2:
        return None
    up = metric.direction == "up"
    best = (max if up else min)(rows, key=lambda title: rows[title].value)
    others = [one for title, one in rows.items() if title != best]
    beyond = (rows[best].low > one.high if up else rows[best].high < one.low for one in others)
    return best if all(beyond) else None


def _order(records: Iterable[Record], labels: Labels, rows: Sequence[str] | None) -> dict[str, int]:
    names = rows if rows is not None else [*labels.titles, *(record.system for record in records)]
    return {name: position for position, name in enumerate(dict.fromkeys(names))}


def _row_title(record: Record, labels: Labels, several: bool) -> str:
    title = labels.title(record.system)
    return f"{title} (subject {record.subject}, seed {record.seed})" if several else title


def number(value: float, metric: Metric) -> str:
    """A value as the metric is printed: '93.0' in percent, '.550' otherwise."""
    if metric.percent:
        # + 0.0 takes the sign off a zero
        return f"{round(100 * value, 1) + 0.0:.1f}"
    text = f"{value:.{metric.decimals}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def with_interval(record: Record, metric: Metric) -> str:
    """'value [low, high]', or the value alone where the interval is a point."""
    if record.low == record.high:
        return number(record.value, metric)
    low, high = (number(end, metric) for end in (record.low, record.high))
    return f"{number(record.value, metric)} [{low}, {high}]"


def _plain(record: Record, metric: Metric) -> str:
    return number(record.value, metric)


def interval_note(records: Sequence[Record], over: str = OVER_IMAGES) -> str:
    """A footnote: what the brackets hold."""
    counts = sorted({record.n for record in records})
    return f"In brackets: 95 % {over} (n = {', '.join(map(str, counts))})."


def _tex(text: str) -> str:
    """Text as LaTeX sets it."""
    return text.translate(_TEX)


def _numbered(notes: Iterable[str], join: str) -> str:
    return join.join(f"{position}. {note}" for position, note in enumerate(notes, 1))


def _note_html(note: str) -> str:
    """A footnote's `code` as code."""
    parts = html.escape(note).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _section_html(section: Section) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in [section.heading, *section.cells.columns])
    rows = []
    for name, texts, marks in zip(section.cells.index, section.cells.to_numpy(), section.best.to_numpy(), strict=True):
        shown = [f"<b>{html.escape(t)}</b>" if best else html.escape(t) for t, best in zip(texts, marks, strict=True)]
        rows.append(f"<tr><th>{html.escape(str(name))}</th>{''.join(f'<td {ONE_LINE}>{c}</td>' for c in shown)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
