"""Folders, profiles and subjects of a notebook are refused before a kernel is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_notebooks import CELL, NAMES, write_notebook

from brainram_lib.__main__ import main
from brainram_lib.setup import notebooks
from brainram_lib.setup.notebooks import (
    NotebookError,
    ParameterError,
    check_parameters,
    parameters_of,
    parse_parameters,
    run_notebook,
)


@pytest.mark.parametrize("subject", [-1, 0, 3, 8, 9])
def test_a_subject_that_the_profile_lacks_is_refused(tmp_path, no_kernel, subject):
    with pytest.raises(
        ParameterError, match=r"'subject' of n.ipynb must be one of \(1, 2, 5, 7\) in the profile 'mini'"
    ):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb", {"subject": subject})
    assert not no_kernel


@pytest.mark.parametrize(("profile", "words"), [("maxi", "'maxi' was provided"), ("gone.json", "no profile file")])
def test_a_profile_that_is_not_there_is_refused(tmp_path, no_kernel, profile, words):
    with pytest.raises(ParameterError, match=f"'profile' of n.ipynb: .*{words}"):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb", {"profile": profile})
    assert not no_kernel


def test_a_profiles_file_lies_beside_the_notebook(tmp_path, no_kernel):
    path = write_notebook(tmp_path / NAMES)
    (tmp_path / "own.json").write_text('{"base": "mini"}')
    run_notebook(path, tmp_path / "out.ipynb", {"profile": "own.json"})
    assert no_kernel


@pytest.mark.parametrize("subject", [0, 12, 1001])
def test_subjects_of_ones_own_data_have_any_number(tmp_path, no_kernel, monkeypatch, subject):
    path = write_notebook(tmp_path / NAMES)
    (tmp_path / "own.toml").write_text(f'base = "mini"\nfolder = "mydata"\nsubjects = [{subject}]\n')
    typed = [("profile", "own.toml"), ("subject", str(subject))]
    run_notebook(path, tmp_path / "out.ipynb", parse_parameters(typed, parameters_of(path), NAMES))
    assert no_kernel
    monkeypatch.chdir(tmp_path)
    check_parameters([CELL, f"# Parameters\nprofile = 'own.toml'\nsubject = {subject}\n"])
    with pytest.raises(ParameterError, match=rf"must be one of \({subject},\) in the profile 'own'. 1 was provided"):
        run_notebook(path, tmp_path / "out.ipynb", {"profile": "own.toml"})


def test_braces_in_paths_and_values_stay_as_they_are(tmp_path, no_kernel):
    path = write_notebook(tmp_path / "my röpo {x}" / NAMES)
    out = tmp_path / "{subject} }{" / "out.ipynb"
    run_notebook(path, out, {"runs": str(tmp_path / "{runs}")})
    (source, copy), settings = no_kernel[0]
    assert source.format() == str(path) and copy.format() == str(out)
    assert settings["parameters"] == {"runs": str(tmp_path / "{runs}")}


def test_a_folder_with_braces_is_run_and_written(tmp_path):
    path = write_notebook(tmp_path / "a {x}" / NAMES, "runs = None", "print(runs)")
    run_notebook(path, tmp_path / "b {y}" / NAMES, {"runs": str(tmp_path / "{r}")}, progress=False)
    assert "{r}" in (tmp_path / "b {y}" / NAMES).read_text()


def unwritable(monkeypatch, folder: Path) -> None:
    """Root may write everywhere, so the system's answer is given for it."""
    real = notebooks.tempfile.TemporaryFile

    def refused(dir: Path) -> object:
        if Path(dir) == folder:
            raise PermissionError(13, "Permission denied", str(dir))
        return real(dir=dir)

    monkeypatch.setattr(notebooks.tempfile, "TemporaryFile", refused)


@pytest.mark.parametrize("kind", ["a file in the way", "no right", "a folder of that name", "the notebook itself"])
def test_a_copy_that_cannot_be_written_is_refused(tmp_path, no_kernel, monkeypatch, kind):
    path, out = write_notebook(tmp_path / NAMES), tmp_path / "out" / NAMES
    if kind == "a file in the way":
        (tmp_path / "out").touch()
    elif kind == "no right":
        unwritable(monkeypatch, tmp_path / "out")
    elif kind == "a folder of that name":
        out.mkdir(parents=True)
    else:
        out = path
    with pytest.raises(NotebookError, match="(cannot be written: .*|replace the notebook itself). Name another --out"):
        run_notebook(path, out)
    assert not no_kernel


@pytest.mark.parametrize("kind", ["a file in the way", "no right"])
def test_results_that_cannot_be_written_are_refused(tmp_path, no_kernel, monkeypatch, kind):
    path, runs = write_notebook(tmp_path / NAMES), tmp_path / "runs"
    if kind == "a file in the way":
        runs.touch()
    else:
        runs.mkdir()
        unwritable(monkeypatch, runs)
    with pytest.raises(NotebookError, match="Results of n.ipynb cannot be written to runs = "):
        run_notebook(path, tmp_path / "out.ipynb", {"runs": str(runs / "deeper")})
    assert not no_kernel


def test_the_command_says_one_sentence(tmp_path, capsys):
    path = write_notebook(tmp_path / NAMES)
    assert main(["notebook", "run", str(path), "--out", str(tmp_path / "o"), "-p", "seed", "-1"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "'seed' of n.ipynb must be between 0 and" in said
