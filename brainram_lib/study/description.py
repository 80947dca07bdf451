"""`data.toml`: which files of a folder hold betas, trials, pictures and captions, and how the stimuli are split."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainram_lib.study.errors import StudyError

FILE = "data.toml"
# NSD's stimuli are as large
SIZE = 425
_TOP = {"title", "pictures", "captions", "size", "split", "subjects"}
_SPLIT = {"test", "seed"}
_SUBJECT = {"betas", "trials", "rois"}


@dataclass(frozen=True)
class SubjectFiles:
    """One subject's files.

    Attributes:
        betas: arrays (trials, voxels), to be concatenated. trials: the table of what each trial shows, None where the
            files of betas hold it themselves. rois: masks by name, or None.
    """

    betas: tuple[Path, ...]
    trials: Path | None
    rois: Path | None


@dataclass(frozen=True)
class Description:
    """What `data.toml` says; paths are relative to its folder.

    Attributes:
        size: side in pixels to which pictures of a folder are resized.
        test: how many stimuli are drawn for testing, a file that names them, or None if tables say.
        seed: seed of that draw.
    """

    folder: Path
    title: str
    pictures: Path
    captions: Path
    size: int
    subjects: Mapping[int, SubjectFiles]
    test: int | Path | None
    seed: int


def read_description(folder: Path) -> Description:
    """Read `data.toml`.

    Raises:
        StudyError: it is not there, is not TOML, lacks an entry, or has one that is not known.
    """
    path = folder / FILE
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as problem:
        raise StudyError(
            f"there is no '{path}'. It says which files hold betas, trials, pictures and captions; `python -m "
            "brainram_lib data example FOLDER` writes one."
        ) from problem
    except (OSError, ValueError) as problem:
        raise StudyError(f"'{path}' cannot be read as TOML ({str(problem)[:200]}).") from problem
    where = f"'{path}'"
    _only(said, _TOP, where)
    split = _entry(said, "split", dict, where, {})
    _only(split, _SPLIT, f"[split] of {where}")
    subjects = _entry(said, "subjects", dict, where)
    if not subjects:
        raise StudyError(f"{where} must have at least one [subjects.NUMBER], such as [subjects.1].")
    return Description(
        folder,
        _entry(said, "title", str, where, folder.name),
        folder / _entry(said, "pictures", str, where),
        folder / _entry(said, "captions", str, where),
        _whole(said, "size", where, SIZE, 8),
        _subjects(folder, subjects, where),
        _test(folder, split, where),
        _whole(split, "seed", where, 0, 0),
    )


def _subjects(folder: Path, said: Mapping[str, Any], where: str) -> dict[int, SubjectFiles]:
    numbers = {name: _number(name, where) for name in said}
    for name, number in numbers.items():
        if name != str(number) and str(number) in numbers:
            raise StudyError(f"{where} describes subject {number} twice, as [subjects.{number}] and [subjects.{name}].")
    return {numbers[name]: _subject(folder, name, one, where) for name, one in said.items()}


def _subject(folder: Path, name: str, said: Any, where: str) -> SubjectFiles:
    where = f"[subjects.{name}] of {where}"
    if not isinstance(said, dict):
        raise StudyError(f"{where} must be a table with 'betas' and 'trials'. {said!r} was provided.")
    _only(said, _SUBJECT, where)
    betas = said.get("betas")
    betas = [betas] if isinstance(betas, str) else betas
    if not isinstance(betas, list) or not betas or not all(isinstance(one, str) for one in betas):
        raise StudyError(
            f"'betas' in {where} must name a file, or a list of files. {said.get('betas')!r} was provided."
        )
    trials, rois = (_entry(said, key, str, where, "") for key in ("trials", "rois"))
    return SubjectFiles(
        tuple(folder / one for one in betas), folder / trials if trials else None, folder / rois if rois else None
    )


def _number(name: str, where: str) -> int:
    if not (name.isascii() and name.isdigit()):
        raise StudyError(f"subjects in {where} are called by numbers, as [subjects.1]. '{name}' was provided.")
    return int(name)


def _test(folder: Path, said: Mapping[str, Any], where: str) -> int | Path | None:
    value = said.get("test")
    if isinstance(value, str) and value:
        return folder / value
    # a single one has nothing to be compared with; see `split.LEAST`
    return None if value is None else _whole(said, "test", where, None, 2)


def _only(said: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(said) - known):
        raise StudyError(f"'{unknown[0]}' is no entry of {where}. It may have {', '.join(sorted(known))}.")


def _entry(said: Mapping[str, Any], key: str, kind: type, where: str, default: Any = None) -> Any:
    value = said.get(key, default)
    if not isinstance(value, kind):
        words = {str: "text", dict: "a table"}[kind]
        raise StudyError(f"'{key}' in {where} must be {words}. {value!r} was provided.")
    return value


def _whole(said: Mapping[str, Any], key: str, where: str, default: int | None, low: int) -> int:
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise StudyError(f"'{key}' in {where} must be a whole number, {low} or more. {value!r} was provided.")
    return value
