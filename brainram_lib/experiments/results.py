"""Records of an experiment: read, joined and written, with the scores of single images beside them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from brainram_lib.core.files import write_json
from brainram_lib.core.marks import file_mark, plain
from brainram_lib.core.store import library
from brainram_lib.evaluation.records import Record
from brainram_lib.experiments.experiment import Experiment, ExperimentError
from brainram_lib.experiments.per_image import PerImage
from brainram_lib.experiments.places import place_of, row_of, run_of
from brainram_lib.experiments.times import joined

RESULTS = Path(__file__).resolve().parents[2] / "results"
_RECORD = tuple(one.name for one in fields(Record))
_PARTS = ("records", "differences")


@dataclass(frozen=True)
class RowRecord:
    """One score of one row: whose it is, and its 95 % interval over images."""

    experiment: str
    row: str
    system: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    subject: int
    seed: int

    @classmethod
    def of(cls, experiment: str, row: str, record: Record) -> RowRecord:
        """A record of a row."""
        return cls(experiment, row, **{name: getattr(record, name) for name in _RECORD})

    def as_record(self) -> Record:
        """The same under the row's name, as tables take it."""
        system = self.system if " over " in self.system else self.row
        return Record(system, self.metric, self.value, self.low, self.high, self.n, self.subject, self.seed)

    @property
    def place(self) -> str:
        """'row/subject/seed', under which `Results.keys` has its key."""
        return place_of(self.row, self.subject, self.seed)

    @property
    def other(self) -> str:
        """Of a difference, the place of the row that it is over."""
        return place_of(self.system.rpartition(" over ")[2], self.subject, self.seed)


@dataclass(frozen=True)
class Results:
    """All records of an experiment.

    Attributes:
        experiment: its name. title: of its table. profile: its name.
        records: scores. differences: of each row over the reference, image by image.
        keys: {row/subject/seed: key of the scores}, so that records of other settings are not joined with these.
        simulated: whether they are of the embedded world.
        command: that made them. library: version and commit of what made them. made: when.
        said: notes that were measured, such as near-duplicates in the corpus.
        images: the scores of single images, in a file of their own; empty where that file is missing.
        images_mark: of that file's content, so that the file of other records is not taken for theirs.
        reported: whether the papers' rows may be shown beside them, because they are of NSD.
        took: CPU seconds of the stages that they were made from, by kind (`times.kind`).
        before: what made the records that were joined: command, made, library, and places.
        failed: {row/subject/seed: why} of what has no records because it failed.
    """

    experiment: str
    title: str
    profile: str
    records: tuple[RowRecord, ...]
    differences: tuple[RowRecord, ...]
    keys: dict[str, str]
    simulated: bool
    command: str
    library: dict[str, Any] = field(default_factory=dict)
    made: str = ""
    said: tuple[str, ...] = ()
    images: PerImage = field(default_factory=lambda: PerImage.of([]), compare=False)
    images_mark: str | None = field(default=None, compare=False)
    reported: bool = True
    took: dict[str, float] = field(default_factory=dict, compare=False)
    before: tuple[dict[str, Any], ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        found: Iterable[RowRecord],
        differences: Iterable[RowRecord],
        keys: dict[str, str],
        **of: Any,
    ) -> Results:
        """What was just measured."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        names = experiment.name, experiment.title
        parts = tuple(found), tuple(differences), keys
        return cls(*names, of.pop("profile"), *parts, **of, library=library(), made=now)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            ExperimentError: it is not there, or holds something else.
        """
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            for name in _PARTS:
                said[name] = tuple(RowRecord(**row) for row in said[name])
            for name in ("said", "before"):
                said[name] = tuple(said.get(name, ()))
            results = cls(**said)
        except FileNotFoundError as problem:
            raise ExperimentError(f"there are no records at '{path}'. Run the experiment first.") from problem
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise ExperimentError(
                f"'{path}' does not hold the records of an experiment ({str(problem)[:200]}). Delete it and run again."
            ) from problem
        beside = images_file(path)
        if results.images_mark is None or file_mark(beside) != results.images_mark:
            return results
        return replace(results, images=PerImage.read(beside))

    def write(self, path: Path) -> None:
        """Write the scores of single images, then the records, which hold the mark of the former, as JSON, whole."""
        mark = self.images.write(images_file(path)) if self.images else None
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "images"}
        write_json(path, plain(said | {"images_mark": mark}))

    def joined(self, earlier: Results, places: Collection[str]) -> Results:
        """With the earlier records of these places, 'row/subject/seed', except those that were made again now.

        A difference from scores that are no longer in the file, or were made in another way now, is left out.
        """
        kept = {place: key for place, key in earlier.keys.items() if place in places and place not in self.keys}
        keep = [one for one in earlier.records if one.place in kept]
        there = {**kept, **self.keys}
        differ = [
            one
            for one in earlier.differences
            if one.place in kept and one.other in there and there[one.other] == earlier.keys.get(one.other)
        ]
        images = PerImage.of([one.lines for one in (self.images, earlier.images.of_places(kept)) if one])
        parts = {"records": (*self.records, *keep), "differences": (*self.differences, *differ), "images": images}
        said = tuple(dict.fromkeys((*self.said, *(earlier.said if kept else ()))))
        parts |= {"keys": there, "said": said, "took": joined(earlier.took, self.took)}
        failed = {place: why for place, why in {**earlier.failed, **self.failed}.items() if place not in there}
        parts |= {"before": tuple(_makers(earlier, kept)), "failed": failed}
        return replace(self, **parts)

    def of_rows(self, rows: Collection[str]) -> Results:
        """Those of some rows: a file keeps records of rows that are not asked for, or that no table has any more."""
        return self._where(lambda place: row_of(place) in rows)

    def of_runs(self, subjects: Collection[int] | None = None, seeds: Collection[int] | None = None) -> Results:
        """Those of some subjects and seeds; None: of all.

        Raises:
            ExperimentError: there are none.
        """

        def asked(place: str) -> bool:
            subject, seed = run_of(place)
            return (subjects is None or subject in subjects) and (seeds is None or seed in seeds)

        found = self._where(asked)
        if not found.records:
            runs = sorted({run_of(place) for place in self.keys})
            raise ExperimentError(
                f"'{self.experiment}' has records of {', '.join(f'subject {one}, seed {seed}' for one, seed in runs)}; "
                f"none of subjects {list(subjects or [])}, seeds {list(seeds or [])}."
            )
        return found

    def _where(self, asked: Callable[[str], bool]) -> Results:
        """The records of the places that are asked for, and what was said of their subjects."""
        every = {*self.keys, *self.failed, *(one.place for name in _PARTS for one in getattr(self, name))}
        if all(map(asked, every)):
            return self
        keys = {place: key for place, key in self.keys.items() if asked(place)}
        parts: dict[str, Any] = {name: tuple(one for one in getattr(self, name) if asked(one.place)) for name in _PARTS}
        subjects = {run_of(place)[0] for place in keys}
        parts |= {"keys": keys, "failed": {place: why for place, why in self.failed.items() if asked(place)}}
        parts |= {"images": self.images.of_places(keys) if self.images else self.images}
        parts["before"] = tuple(_makers(self, keys, own=False))
        parts["said"] = tuple(note for note in self.said if subject_said(note) in {None, *subjects})
        return replace(self, **parts)


def said_of(subject: int, note: str) -> str:
    """A note about one subject, with the subject's number before it."""
    return f"Subject {subject}: {note}"


def subject_said(note: str) -> int | None:
    """The subject that a note is about; None: all."""
    return _parted(note)[0]


def said_together(notes: Iterable[str], subjects: Collection[int]) -> list[str]:
    """Each note once: first those about all subjects, then the others with the subjects that they are about."""
    whose: dict[str, set[int]] = {}
    for note in notes:
        subject, text = _parted(note)
        whose.setdefault(text, set()).update(subjects if subject is None else [subject])
    everyones = [text for text, found in whose.items() if found >= set(subjects)]
    others = sorted((sorted(found), text) for text, found in whose.items() if text not in everyones)
    return [*everyones, *(f"Subject{'s' * (len(of) > 1)} {', '.join(map(str, of))}: {text}" for of, text in others)]


def _parted(note: str) -> tuple[int | None, str]:
    found = re.match(r"Subject (\d+): ", note)
    return (None, note) if found is None else (int(found[1]), note[found.end() :])


def _makers(results: Results, places: Collection[str], own: bool = True) -> Iterator[dict[str, Any]]:
    """What made the records of some places: those that were joined earlier, then, if asked for, `results` itself."""
    makers = list(results.before)
    if own:
        others = {place for maker in makers for place in maker["places"]}
        of = {name: getattr(results, name) for name in ("command", "made", "library")}
        makers.append(of | {"places": sorted(results.keys.keys() - others)})
    for maker in makers:
        if theirs := [place for place in maker["places"] if place in places]:
            yield {**maker, "places": theirs}


def images_file(path: Path) -> Path:
    """The file of single images' scores beside a file of records."""
    return path.with_name(f"{path.stem}.images.parquet")


def committed_times(profile: str) -> dict[str, float]:
    """What the stages of all committed records of a profile took; a file that cannot be read is skipped."""
    found: dict[str, float] = {}
    for path in sorted((RESULTS / profile).glob("*.json")):
        with suppress(ExperimentError):
            found = joined(found, Results.read(path).took)
    return found


def where(experiment: str, profile: str, runs: Path, folder: Path | None = None) -> Path:
    """The file of records: in `folder`; without one, the user's own, else the committed one.

    Raises:
        ExperimentError: none is there.
    """
    places = [folder] if folder else [runs / "experiments" / profile, RESULTS / profile]
    found = [place / f"{experiment}.json" for place in places if (place / f"{experiment}.json").is_file()]
    if not found:
        looked = ", ".join(f"'{place}'" for place in places)
        raise ExperimentError(f"there are no records of '{experiment}' in {looked}. Run the experiment first.")
    return found[0]
