"""COCO's captions in another file, form or encoding; captions that are no text, or half a character."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest
from nsd_files import write_captions

from brainram_lib.encoders import ClipTokens, HuggingFaceTokeniser
from brainram_lib.nsd.captions import Captions, read_stim_info
from brainram_lib.nsd.check import DAMAGED, THERE, check
from brainram_lib.nsd.errors import MESSAGE_LENGTH, CaptionError, DamagedFileError
from brainram_lib.nsd.layout import NsdLayout

HALF = "half \ud83d emoji"
NOT_COCOS = "captions_train2017.json' is not COCO's caption file"


@pytest.fixture
def layout(tmp_path):
    write_captions(NsdLayout(tmp_path))
    return NsdLayout(tmp_path)


def finding(layout, thing):
    return next(one for one in check(layout, 1, sessions=1) if one.thing == thing)


CHANGED = {
    "instances": (lambda pairs: [{"image_id": pair["image_id"], "bbox": [1]} for pair in pairs], "a text as caption"),
    "null": (lambda pairs: [pairs[0] | {"caption": None}], "of image 1007, must have a text as caption, it has none"),
    "number": (lambda pairs: [pairs[0] | {"caption": 5}], "it has 5"),
    "half": (lambda pairs: [pairs[0] | {"caption": HALF}], "of image 1007 holds half a character"),
    "no id": (lambda pairs: [{"caption": "a"}], "a whole number as image_id, it has none"),
    "id as text": (lambda pairs: [pairs[0] | {"image_id": "1007"}], "it has '1007'"),
    "id with fraction": (lambda pairs: [pairs[0] | {"image_id": 1007.0}], "it has 1007.0"),
    "id true": (lambda pairs: [pairs[0] | {"image_id": True}], "it has True"),
    "strings": (lambda pairs: ["a cat"], "annotation 0 must be an object, it is a str"),
    "long": (lambda pairs: [pairs[0] | {"caption": ["x" * 10_000]}], "must have a text as caption"),
    "an object": (lambda pairs: {"1007": pairs[0]}, "a list 'annotations'"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_annotations_that_are_no_captions_are_named(layout, name):
    change, words = CHANGED[name]
    path = layout.captions("train2017")
    pairs = json.loads(path.read_text())["annotations"]
    path.write_text(json.dumps({"annotations": change(pairs)}))
    with pytest.raises(DamagedFileError, match=NOT_COCOS) as caught:
        Captions(layout).of(1)
    assert words in str(caught.value) and len(str(caught.value)) <= MESSAGE_LENGTH
    assert finding(layout, "captions, train2017").status == DAMAGED
    assert finding(layout, "captions, val2017").status == THERE


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"filename": "a.jpg"}]', "it is a list"),
        (b'{"images": []}', r"an object with the keys \['images'\]"),
        (b"7", "it is a int"),
        (b"null", "it is a NoneType"),
        (b" ", "it is empty"),
        (gzip.compress(b"{}"), "compressed with gzip"),
        (b"\x1f\x8b" + os.urandom(1_000_000), "compressed with gzip"),
        ('{"annotations": []}'.encode("utf-16"), "UTF-16"),
        ('{"annotations": [{"image_id": 1, "caption": "é"}]}'.encode("latin-1"), "UnicodeDecodeError"),
        (b"<html>not found</html>", "HTML"),
        (b"PK\x03\x04zip", "a zip archive"),
        (b"[" * 100_000, "RecursionError"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b'{"annotations": NaN}', "a list 'annotations'"),
    ],
    ids=[
        *("Karpathy's", "other keys", "number", "null", "empty", "gzip", "large gzip", "UTF-16", "Latin-1", "page"),
        *("zip", "nested", "LFS", "NaN"),
    ],
)
def test_other_files_in_the_captions_place_are_named_briefly(layout, content, words):
    layout.captions("train2017").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"(?s){NOT_COCOS}.*{words}") as caught:
        Captions(layout).of(1)
    assert len(str(caught.value)) <= MESSAGE_LENGTH


def test_a_byte_order_mark_does_no_harm(layout):
    before = Captions(layout).of(1)
    path = layout.captions("train2017")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Captions(layout).of(1) == before


def test_the_table_may_have_other_line_ends_and_column_orders(layout):
    before = Captions(layout).of(4)
    rows = [line.split(",")[::-1] for line in layout.stim_info.read_text().split()]
    layout.stim_info.write_bytes("\r\n".join(",".join(row) for row in rows).encode())
    assert Captions(layout).of(4) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",", ";"), "not separated by commas"),
        (lambda text: text.replace(",1007,", ",,"), "whole numbers in column cocoId"),
        (lambda text: text.replace(",1007,", ",cat,"), "whole numbers in column cocoId"),
        (lambda text: text + text.splitlines()[1], "one row per nsdId"),
    ],
    ids=["semicolons", "a gap", "text", "twice"],
)
def test_tables_that_a_spreadsheet_spoilt_are_named(layout, change, words):
    layout.stim_info.write_text(change(layout.stim_info.read_text()))
    with pytest.raises(DamagedFileError, match=words):
        read_stim_info(layout)


def test_another_years_split_is_named(layout):
    layout.stim_info.write_text(layout.stim_info.read_text().replace("train2017", "train2014"))
    with pytest.raises(CaptionError, match="'train2014' stands in the table"):
        Captions(layout).of(1)


# --- captions as CLIP takes them ---


@pytest.fixture(scope="module")
def mini() -> ClipTokens:
    return ClipTokens.mini()


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        ([["a cat"], [HALF]], "image 1, caption 0 holds half a character"),
        ([["a cat", None]], "image 0, caption 1 must be text, got None"),
        ([[float("nan")]], "must be text, got nan"),
        ([[3]], "must be text, got 3"),
        ([[b"a cat"]], "must be text, got b'a cat'"),
        ([["a"], []], r"at least one caption for each image, got \[\] at 1"),
        ([["a"], None], "got None at 1"),
        ([5], "got 5 at 0"),
        (["a cat"], "put a single caption into a list"),
        ("a cat", "one list for each image"),
        (None, "one list for each image, got None"),
        ([], "nothing was handed in"),
        ([["x" * 5000 + "\udc00"]], "holds half a character"),
    ],
)
def test_captions_that_are_no_text_are_named(mini, captions, words):
    # the signature's own check, which only tests have, would refuse some of them first
    with pytest.raises(ValueError, match=words) as caught:
        getattr(ClipTokens.text_tokens, "__wrapped__", ClipTokens.text_tokens)(mini, captions)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("captions", [["a cat", HALF], [None], [1.5], "a cat"])
def test_pooled_captions_are_checked_as_well(mini, captions):
    with pytest.raises(ValueError, match="half a character|must be text|a list of texts"):
        getattr(ClipTokens.pooled_texts, "__wrapped__", ClipTokens.pooled_texts)(mini, captions)


def test_the_tokeniser_names_half_a_character():
    with pytest.raises(ValueError, match="caption 1 holds half a character"):
        HuggingFaceTokeniser(77)(["whole", HALF])


@pytest.mark.parametrize("text", ["", " \n\t", "a\0b", "🐶🏽‍🚀", "x" * 20_000, "<|endoftext|>", "שלום", "e\u0301"])
def test_odd_but_whole_captions_are_encoded(mini, text):
    assert np.isfinite(mini.text_tokens([[text]]).numpy()).all()
