import numpy as np
import pytest

from brainram_lib.evaluation.catalogue import IDENTIFICATION, MINI, metric
from brainram_lib.evaluation.differences import lead_table
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record, known, leads, records_of
from brainram_lib.evaluation.reported import (
    BY_AUTHORS,
    IN_BRAINRAM,
    LATER,
    PROVENANCES,
    provenance_notes,
    reported,
    reported_records,
    second_hand,
)
from brainram_lib.evaluation.tables import (
    BEST,
    EMBEDDED,
    MISSING,
    measured_section,
    reported_section,
    score_table,
)
from brainram_lib.systems import systems
from brainram_lib.systems.scores import labels as registered_labels


def scores(**values):
    """Records of pixcorr and clip: system=(pixcorr, clip)."""
    return [
        Record(system.replace("_", "-"), name, value, value - 0.04, value + 0.03, 30, 1, 0)
        for system, pair in values.items()
        for name, value in zip(("pixcorr", "clip"), pair, strict=True)
    ]


MEASURED = scores(ridge=(0.55, 0.71), brainram=(0.5, 0.93), ceiling=(0.88, 0.99), chance=(0.01, 0.5))
COLUMNS = (MINI[0], MINI[5])
LABELS = Labels(
    {"brainram": "BrainRAM", "ridge": "Ridge", "ceiling": "True tokens (ceiling)", "chance": "Chance"},
    frozenset({"ceiling", "chance"}),
)


def test_records_hold_the_mean_and_its_interval():
    values = np.random.default_rng(0).uniform(size=50)
    (one,) = records_of("ridge", {"clip": values}, subject=2, seed=5)
    assert one.value == pytest.approx(values.mean()) and one.low < one.value < one.high
    assert (one.system, one.metric, one.n, one.subject, one.seed) == ("ridge", "clip", 50, 2, 5)
    point = known("chance", "clip", 0.5, n=50, subject=2, seed=5)
    assert point.low == point.value == point.high


def test_leads_are_differences_image_by_image():
    rng = np.random.default_rng(0)
    hard = rng.uniform(size=50)
    values = {"brainram": {"clip": hard + 0.02 + 0.01 * rng.normal(size=50)}, "ridge": {"clip": hard}}
    (one,) = leads("brainram", "ridge", values, subject=2, seed=5)
    assert (one.system, one.metric, one.n, one.subject, one.seed) == ("brainram over ridge", "clip", 50, 2, 5)
    assert one.value == pytest.approx((values["brainram"]["clip"] - hard).mean()) and 0 < one.low < one.value < one.high
    # the two intervals overlap where the paired one leaves out zero
    assert records_of("ridge", values["ridge"], subject=2, seed=5)[0].high > values["brainram"]["clip"].mean()
    table = lead_table([one], COLUMNS[1:], "Lead", embedded=True, labels=LABELS)
    assert table.title.endswith(EMBEDDED) and "| BrainRAM over Ridge | **2.0\u00a0[" in table.markdown()
    assert "(n = 50)" in table.text() and "the 1 of 1 differences that remain" in table.text()
    assert one.p < 0.001 and "not tested" not in table.text()
    untested = Record(*(getattr(one, name) for name in Record.__dataclass_fields__))
    assert "| 2.0\u00a0[" in lead_table([untested], COLUMNS[1:], "Lead", embedded=True, labels=LABELS).markdown()


def test_measured_rows_are_ordered_and_show_their_interval():
    section = measured_section(MEASURED, COLUMNS, LABELS)
    assert list(section.cells.index) == ["BrainRAM", "Ridge", "True tokens (ceiling)", "Chance"]
    assert section.cells.loc["BrainRAM", "mini CLIP ↑ %"] == "93.0 [89.0, 96.0]"
    assert section.cells.loc["Ridge", "PixCorr ↑"] == ".550 [.510, .580]"


def test_without_labels_systems_keep_their_names_and_order_and_chance_does_not_compete():
    section = measured_section(MEASURED, COLUMNS)
    assert list(section.cells.index) == ["ridge", "brainram", "ceiling", "chance"]
    assert section.best["PixCorr ↑"].tolist() == [False, False, True, False]


def test_rows_can_be_chosen_and_a_system_without_a_title_stands_last():
    assert list(measured_section(MEASURED, COLUMNS, LABELS, rows=["ridge", "brainram"]).cells.index) == [
        "Ridge",
        "BrainRAM",
    ]
    more = scores(dream=(0.1, 0.2)) + MEASURED
    assert list(measured_section(more, COLUMNS, LABELS).cells.index)[-1] == "dream"
    assert LABELS.title("brainram over dream") == "BrainRAM over dream"


def test_the_registered_systems_are_the_labels_of_tables():
    labels = registered_labels()
    assert list(labels.titles) == [*(system.name for system in systems()), "chance"]
    assert labels.bounds == {"shuffled", "ceiling", "chance"} and labels.titles["brainram"] == "BrainRAM as printed"


def test_the_best_competes_without_ceiling_and_chance():
    best = measured_section(MEASURED, COLUMNS, LABELS).best
    # .55 [.51, .58] and .50 [.46, .53] overlap; .93 [.89, .96] and .71 [.67, .74] do not
    assert best["PixCorr ↑"].tolist() == [False, False, False, False]
    assert best["mini CLIP ↑ %"].tolist() == [True, False, False, False]
    # of three the third decides, and one row alone is the best of nothing
    assert not measured_section(scores(dream=(0.6, 0.9)) + MEASURED, COLUMNS, LABELS).best.any(axis=None)
    assert not measured_section(scores(ridge=(0.5, 0.9)), COLUMNS, LABELS).best.any(axis=None)


def test_lower_is_better_for_distances_and_missing_is_a_dash():
    records = [
        Record("ridge", "image_mse", 0.4, 0.31, 0.5, 9, 1, 0),
        Record("brainram", "image_mse", 0.2, 0.1, 0.3, 9, 1, 0),
    ]
    section = measured_section(records, (metric("image_mse"), metric("clip")), LABELS)
    assert section.best["Image tokens MSE ↓"].tolist() == [True, False]
    assert section.cells.loc["Ridge", "CLIP ↑ %"] == MISSING and not section.best["CLIP ↑ %"].any()


def test_several_subjects_have_a_row_each():
    other = [Record("ridge", "pixcorr", 0.2, 0.1, 0.3, 30, 2, 0)]
    index = list(measured_section(MEASURED + other, COLUMNS, LABELS).cells.index)
    assert "Ridge (subject 1, seed 0)" in index and "Ridge (subject 2, seed 0)" in index


def test_a_table_of_the_embedded_world_says_so_and_stands_beside_the_reported_rows():
    table = score_table(MEASURED, COLUMNS, "Table 1", embedded=True, labels=LABELS, paper_table="1")
    assert (
        EMBEDDED in table.title
        and EMBEDDED in table.text()
        and EMBEDDED not in score_table(MEASURED, COLUMNS, "Table 1", embedded=False).text()
    )
    headings = [section.heading for section in table.sections]
    assert headings == ["measured here", *PROVENANCES]
    assert any("30.8 and 20.3" in note for note in table.footnotes)
    assert any("n = 30" in note for note in table.footnotes)
    for shown in (table.text(), table.markdown(), table.html()):
        assert "BrainRAM" in shown and "Alex(2)" in shown and "94.1" in shown and "second-hand" in shown
    assert "**93.0\u00a0[89.0,\u00a096.0]**" in table.markdown() and "<b>93.0 [89.0, 96.0]</b>" in table.html()
    assert '<td style="white-space: nowrap">.550 [.510, .580]</td>' in table.html()
    assert BEST in table.footnotes
    assert "93.0 [89.0, 96.0]*" in table.text()
    assert table._repr_html_() == table.html()


def test_code_in_a_footnote_is_code():
    made = score_table(MEASURED, COLUMNS, "Table 1", embedded=False, notes=("By `score <a> b` & more.",))
    assert "By <code>score &lt;a&gt; b</code> &amp; more.</small>" in made.html()
    assert "By `score <a> b` & more." in made.markdown()


def test_latex_prints_the_signs_that_mean_something_else_there():
    table = score_table(
        scores(**{"a^b~{c}": (0.5, 0.7)}), COLUMNS, "Table", embedded=False, notes=[r"p < .05, 5 $ or 3 % of C:\x|y_z"]
    )
    assert r"a\textasciicircum{}b\textasciitilde{}\{c\} & " in table.latex()
    assert r"p \textless{} .05, 5 \$ or 3 \% of C:\textbackslash{}x\textbar{}y\_z" in table.latex()


def test_html_escapes_names():
    records = [Record("<script>", "pixcorr", 0.1, 0.0, 0.2, 30, 1, 0)]
    assert "<script>" not in score_table(records, COLUMNS, "a & b", embedded=False).html()


@pytest.mark.parametrize(
    ("table", "system", "name", "value", "provenance"),
    [
        ("1", "BrainRAM", "clip", "94.1", IN_BRAINRAM),
        ("1", "BrainRAM", "pixcorr", ".176", IN_BRAINRAM),
        ("1", "MindEye", "ssim", ".358", IN_BRAINRAM),
        ("1", "Takagi et al.", "alex5", "74.8", IN_BRAINRAM),
        ("1", "Gu et al.", "eff", ".862", IN_BRAINRAM),
        ("1", "Lin et al.", "incep", "78.2", IN_BRAINRAM),
        ("1", "MindEye", "ssim", ".323", BY_AUTHORS),
        ("1", "Brain-Diffuser", "clip", "91.5", BY_AUTHORS),
        ("1", "Brain-IT", "swav", ".320", BY_AUTHORS),
        ("1", "MindEye2", "pixcorr", ".374", BY_AUTHORS),
        ("1", "MindEye2", "pixcorr", ".322", LATER),
        ("1", "MindEye", "pixcorr", ".319", LATER),
        ("1", "Brain-Diffuser", "ssim", ".365", LATER),
        ("1", "MindEye2, 1 hour", "eff", ".810", LATER),
        ("2", "MindEye2", "image_retrieval", "99.96", BY_AUTHORS),
        ("2", "BrainRAM without RAM", "brain_retrieval", "84.6", IN_BRAINRAM),
        ("2", "Lin et al.", "brain_retrieval", "49.0", IN_BRAINRAM),
        ("2", "MindEye", "image_retrieval", "93.6", BY_AUTHORS),
        ("2", "MindEye", "image_retrieval", "89.8", IN_BRAINRAM),
        ("3", "MLP, no RAM, image + text", "eff", ".823", IN_BRAINRAM),
        ("3", "Mamba, RAM, text only, LAION-2B-en", "incep", "90.1", IN_BRAINRAM),
        ("3", "Mamba, RAM, image + text, LAION-400M", "alex2", "89.3", IN_BRAINRAM),
        ("4", "Average", "swav", ".526", IN_BRAINRAM),
        ("4", "Cross-Attention", "pixcorr", ".178", IN_BRAINRAM),
    ],
)
def test_reported_numbers_are_the_printed_ones(table, system, name, value, provenance):
    rows = reported(table)
    row = rows[(rows.system == system) & (rows.metric == name) & (rows.provenance == provenance)]
    assert row.value.tolist() == [value]
    assert row.unit.tolist() == ["%" if not value.startswith(".") else ""]


def test_reported_tables_have_all_their_entries():
    counts = {table: (reported(table).provenance == IN_BRAINRAM).sum() for table in "1234"}
    assert counts == {"1": 1 + 8 + 4 + 8 + 8 + 8, "2": 2 + 2 + 6 * 3, "3": 6 * 8, "4": 4 * 8}
    assert not reported("1").duplicated(["system", "metric", "provenance"]).any()


def test_every_number_says_of_whom_and_where_it_was_printed():
    for table in "1234":
        rows = reported(table)
        assert (rows[["subjects", "split", "place"]] != "").all().all() and set(rows.second_hand) <= {"", "yes"}
        assert set(rows.provenance) <= set(PROVENANCES)
        assert (rows[rows.provenance == IN_BRAINRAM].place == f"Table {table}").all()
    assert {"MindEye", "Takagi et al.", "MindHier"} <= second_hand("1", BY_AUTHORS)
    assert not {"MindEye2", "Brain-IT"} & second_hand("1", BY_AUTHORS) and "MindEye2" in second_hand("1", LATER)
    by = {name: set(part.provenance) for name, part in reported("1").groupby("system")}
    assert by["MindEye"] == by["Brain-Diffuser"] == set(PROVENANCES) and by["BrainRAM"] == {IN_BRAINRAM}


def test_sections_mark_what_is_quoted_and_footnotes_say_whose_it_is():
    assert {"MindEye †", "MindEye2"} <= set(reported_section("1", BY_AUTHORS).cells.index)
    notes = provenance_notes("1")
    mindeye = next(note for note in notes if "MindEye, " in note or "; MindEye" in note)
    assert "subjects mean of 1, 2, 5, 7" in mindeye and "982 test images" in mindeye and "† quoted" in mindeye
    assert any("not stated" in note and "Brain-IT" in note for note in notes)
    assert provenance_notes("4") == []


def test_the_contradictions_hold_in_the_numbers():
    clip = {r.system: r.value for r in reported_records("1", IN_BRAINRAM) if r.metric == "clip"}
    assert round(clip["BrainRAM"] - clip["Takagi et al."], 3) == 0.308
    assert round(clip["BrainRAM"] - clip["Brain-Diffuser"], 3) == 0.203
    brain = {r.system: r.value for r in reported_records("2", IN_BRAINRAM) if r.metric == "brain_retrieval"}
    assert round(brain["BrainRAM"] - brain["BrainRAM without RAM"], 3) == 0.057
    assert round(brain["BrainRAM"] - brain["MindEye"], 3) == 0.05
    rows = reported("3").pivot(index="system", columns="metric", values="value")
    first, image_only = rows.loc["MLP, no RAM, image + text"], rows.loc["Mamba, RAM, image only, LAION-2B-en"]
    assert (first[["incep", "clip", "eff"]] == image_only[["incep", "clip", "eff"]]).all()


def test_reported_sections_keep_the_papers_columns_and_have_no_mark():
    section = reported_section("2", IN_BRAINRAM)
    assert list(section.cells.columns[-2:]) == [f"{one.title} ↑ %" for one in IDENTIFICATION[:2]]
    assert not section.best.any(axis=None)
    with pytest.raises(ValueError, match="'table' must be one of 1, 2, 3, 4. '5' was provided"):
        reported("5")
    with pytest.raises(ValueError, match="'provenance' must be one of"):
        reported_records("1", "hearsay")
