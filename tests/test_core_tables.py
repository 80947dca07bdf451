"""Tables with commas: every cell under its own column, or a sentence that names the line."""

from __future__ import annotations

import pytest

from brainram_lib.core.tables import TableError, read_csv


def table(folder, text):
    path = folder / "a.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "line", "cells", "of"),
    [
        ("stimulus,session\na,1,\nb,2,\n", 2, 3, 2),
        ("file,caption\na.jpg,a dog, lying\nb.jpg,a cat\n", 2, 3, 2),
        ("file,caption\na.jpg,a dog\nb.jpg,a cat, lying\n", 3, 3, 2),
        ("file,caption,url\na.jpg,a dog,\nb.jpg,a cat\n", 3, 2, 3),
        ('file,caption\n\na.jpg,"two\nlines"\n  \nb.jpg,a, b, c\n', 6, 4, 2),
        ('file,caption\na.jpg,a\nb.jpg,"two\nlines",\n', 3, 3, 2),
        ("file,caption\r\na.jpg,a\r\nb.jpg,b,\r\n", 3, 3, 2),
    ],
)
def test_a_row_with_more_or_fewer_cells_than_the_header_is_named(tmp_path, text, line, cells, of):
    with pytest.raises(TableError, match=f"line {line} of '.*a.csv' has {cells} cells, and its header has {of}"):
        read_csv(table(tmp_path, text))


def test_a_quote_that_is_never_closed_is_named(tmp_path):
    with pytest.raises(ValueError, match="EOF inside string"):
        read_csv(table(tmp_path, 'file,caption\na.jpg,"a\nb.jpg,b\n'))
    with pytest.raises(TableError, match="line 3 of .* Is a double quote not closed"):
        read_csv(table(tmp_path, 'file,caption\na.jpg,a\nb.jpg,"' + "b\n" * 100_000))


def test_cells_stand_under_their_columns_as_they_are(tmp_path):
    text = '\ufeff\nfile,caption,url\n07.jpg," a, ""b"" ",\nNA, "c",nan\n\n'
    assert read_csv(table(tmp_path, text)).values.tolist() == [["07.jpg", ' a, "b" ', ""], ["NA", ' "c"', "nan"]]
    assert read_csv(table(tmp_path, text), skip_spaces=True)["caption"].tolist() == [' a, "b" ', "c"]
    assert list(read_csv(table(tmp_path, "stimulus\na\n\nb\n"))["stimulus"]) == ["a", "b"]
