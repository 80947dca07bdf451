"""A run: one profile, one subject, one seed. It names the stages of the method, one line each, and makes nothing.

To see what a system is made of, read its file in `systems/`, then this one, then the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from brainram_lib.core.marks import content_mark, file_mark
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.evaluation.submitted import files_of
from brainram_lib.nsd.synthetic.prepare import SESSION
from brainram_lib.pipeline.attribution import Attributions, NeighbourAttributions
from brainram_lib.pipeline.calibration import Calibration
from brainram_lib.pipeline.clusters import HeldOut, StimulusClusters, SubsetTargets
from brainram_lib.pipeline.controls import TrainingCorpus
from brainram_lib.pipeline.corpus import CorpusFolder, CorpusSource, EmbeddedCorpus, Readouts
from brainram_lib.pipeline.data import Images, Subject, Targets, check_modality
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.encoding import EncodingModel
from brainram_lib.pipeline.own_data import OwnData
from brainram_lib.pipeline.peers.latents import Latents
from brainram_lib.pipeline.peers.linear import SingleTrials
from brainram_lib.pipeline.pictures import Generated, NearestNeighbour, NearestTraining, Shuffled
from brainram_lib.pipeline.prior import CrossFitted, Estimates, PriorTraining, RidgeFit
from brainram_lib.pipeline.ram import BOTH, FusionTraining, GuidingNeighbours, Refined, Retrieved
from brainram_lib.pipeline.scores import PROBE, EstimateScores, ImageScores
from brainram_lib.pipeline.shown import Shown, ShownTargets, SyntheticSession, UsualImages
from brainram_lib.pipeline.source import BETAS, CAPTIONS, STIMULI, SYNTHETIC, EmbeddedWorld, NsdFiles, Source
from brainram_lib.pipeline.submitted import Made, SubmittedScores
from brainram_lib.pipeline.trials import Repetitions, TrialScores
from brainram_lib.pipeline.weights import (
    START_IMAGES,
    START_SUBJECT,
    START_VALIDATION,
    EncoderWeights,
    GeneratorWeights,
    PriorWeights,
)
from brainram_lib.profiles import Profile, with_method
from brainram_lib.stage2.settings import EVIDENCE_FUSIONS
from brainram_lib.world.world import WorldSettings

SOURCES = ("embedded-world", "nsd")


@dataclass(frozen=True)
class Run:
    """The stages of one subject.

    Attributes:
        profile: every number.
        subject: NSD's number.
        seed: of everything that is random in training and sampling.
        source: of the data. corpus: that is searched.
    """

    profile: Profile
    subject: int
    seed: int
    source: Source
    corpus_root: Path | None = None
    _marks: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def of_method(self, method: str) -> Run:
        """The same run of 'brainram', as printed, or of 'brainram-plus'; this one if it is that already."""
        if method == self.profile.method:
            return self
        return replace(self, profile=with_method(self.profile, method))

    # --- data

    @cached_property
    def betas(self) -> Subject:
        return Subject(self.source, self._mark(BETAS), self.subject, self.profile.data)

    @cached_property
    def images(self) -> Images:
        split = self.profile.split
        if split.clusters is None:
            return self.all_images
        return HeldOut(self.betas, split.images, self.clusters(split.clusters), split.held_out)

    @cached_property
    def all_images(self) -> Images:
        """All images, including clusters that the profile holds out of training."""
        return Images(self.betas, self.profile.split.images)

    def clusters(self, count: int) -> StimulusClusters:
        return StimulusClusters(self._all_targets("image"), count)

    def targets(self, modality: str) -> Targets:
        check_modality(modality)
        whole = self._all_targets(modality)
        if self.profile.split.clusters is None:
            return whole
        return SubsetTargets(self.images, whole.mark, self.encoder, modality, whole)

    def _all_targets(self, modality: str) -> Targets:
        mark = self._mark(STIMULI if modality == "image" else CAPTIONS)
        return Targets(self.all_images, mark, self.encoder, modality)

    @cached_property
    def encoder(self) -> EncoderWeights:
        return EncoderWeights(self.profile.encoder)

    @cached_property
    def generator(self) -> GeneratorWeights:
        return GeneratorWeights(self.profile.generation.checkpoint)

    @cached_property
    def corpus(self) -> CorpusSource:
        """The user's corpus, or the one that the profile's source makes.

        Raises:
            ValueError: neither is there.
        """
        if self.corpus_root is not None:
            return CorpusFolder(self.corpus_root, self.encoder)
        made = self.profile.corpus
        if not made.pairs:
            raise ValueError(
                f"the profile '{self.profile.name}' needs a corpus of your own: give corpus_root, a folder in "
                "clip-retrieval's format (img_emb, text_emb, metadata) with its pictures."
            )
        planted = (("shared", made.planted_test), ("subject1", made.planted_train))
        copies = tuple((scenes, index) for scenes, count in planted for index in range(count))
        return EmbeddedCorpus(made.pairs, self.encoder, made.foreign_share, copies)

    @cached_property
    def duplicates(self) -> NearDuplicates:
        return NearDuplicates(self.targets("image"), self.corpus)

    @property
    def copies(self) -> NearDuplicates | None:
        """Near-duplicates in the corpus that no system is given, where the profile excludes them."""
        return self.duplicates if self.profile.retrieval.exclude_duplicates else None

    @cached_property
    def training_corpus(self) -> TrainingCorpus:
        return TrainingCorpus(self.images, (self._mark(STIMULI), self._mark(CAPTIONS)), self.encoder)

    # --- Stage I

    def ridge(self, modality: str) -> RidgeFit:
        return RidgeFit(self.targets(modality), self.profile.split.validation)

    def prior(self, modality: str) -> PriorTraining:
        settings = self.profile.stage1
        if settings.start and self.start_has_seen:
            settings = replace(settings, start="")
        if modality == "image" or not settings.free_share:
            settings = replace(settings, free_captions=1)  # no caption changes this prior
        linear = CrossFitted(self.ridge(modality)) if settings.projector.linear_path else None
        corpus = self.corpus if settings.free_share else None
        start = PriorWeights(settings.start) if settings.start else None
        validation = self.profile.split.validation
        copies = self.copies if corpus is not None else None
        return PriorTraining(self.targets(modality), linear, corpus, start, settings, validation, self.seed, copies)

    @property
    def start_has_seen(self) -> bool:
        """Whether the start of the priors has seen images that this split keeps out of training; it is then not used.

        With more images than it has seen, some of the validation images are among those: they choose ridge's alphas and
        the mix's share, and no weight is trained on them. It has seen no image of other subjects, or of other worlds.
        """
        shipped = isinstance(self.source, EmbeddedWorld) and self.source.settings.name == WorldSettings().name
        if not shipped or self.subject != START_SUBJECT:
            return False
        split = self.profile.split
        fewer = split.images is not None and split.images[0] < START_IMAGES
        return fewer or split.clusters is not None or split.validation != START_VALIDATION

    def estimates(self, modality: str) -> Estimates:
        return Estimates(self.prior(modality), self.profile.sampling, self.seed)

    def calibration(self, modality: str) -> Calibration:
        return Calibration(self.prior(modality), seed=self.seed)

    def attributions(self, modality: str, token: int | None = None) -> Attributions:
        return Attributions(self.prior(modality), self._linear_ridge(modality), token)

    def neighbour_attributions(self, modality: str, rank: int) -> NeighbourAttributions:
        return NeighbourAttributions(self.neighbours(modality), rank)

    def _linear_ridge(self, modality: str) -> RidgeFit | None:
        return self.ridge(modality) if self.profile.stage1.projector.linear_path else None

    # --- retrieval and Stage II

    @cached_property
    def readouts(self) -> Readouts:
        return Readouts(self.corpus, self.encoder, self.profile.retrieval.word_weight > 0)

    def neighbours(self, modality: str) -> Retrieved:
        check_modality(modality)
        settings = self.profile.retrieval
        # estimates that ask together find the same items for both modalities
        together = settings.text_weight is not None
        image = together or modality == "image" or settings.candidates is not None
        text = together or modality == "text"
        asking = [self.estimates(m) if asks else None for m, asks in zip(MODALITIES, (image, text), strict=True)]
        return Retrieved(*asking, self.readouts, settings, BOTH if together else modality, self.copies)

    def fusion(self, modality: str) -> FusionTraining:
        estimates, found = self.estimates(modality), self.neighbours(modality)
        settings = self.profile.stage2
        other = MODALITIES[1 - MODALITIES.index(modality)]
        beside = self.estimates(other) if settings.fusion in EVIDENCE_FUSIONS else None
        return FusionTraining(estimates, found, beside, settings, self.profile.split.validation, self.seed)

    def refined(self, modality: str) -> Refined:
        return Refined(self.fusion(modality))

    # --- images

    def generated(
        self, tokens: Mapping[str, Stage], draws: int | None = None, guided: bool = False, label: str = "generate"
    ) -> Generated:
        """Images from a system's tokens: S draws unless `draws` says otherwise, a guiding neighbour if `guided`."""
        settings, draws = self.profile.generation, draws or self.profile.sampling.samples
        guide = self.guide(tokens["image"], draws) if guided and settings.neighbour_share else None
        if guide is None:
            settings = replace(settings, neighbour_share=0.0)
        how = self.generator, self.encoder, settings, draws, self.seed, label
        return Generated(tokens["image"], tokens["text"], guide, *how)

    def guide(self, image: Stage, draws: int) -> GuidingNeighbours:
        return GuidingNeighbours(image, self.neighbours("image"), self.prior("image"), draws)

    def nearest_neighbour(self) -> NearestNeighbour:
        return NearestNeighbour(self.neighbours("image"))

    def nearest_training(self) -> NearestTraining:
        return NearestTraining(self.estimates("image"), self.targets("image"))

    def shuffled(self, images: Stage) -> Shuffled:
        return Shuffled(images, self.seed)

    # --- what compared systems are made of

    def trials(self) -> SingleTrials:
        return SingleTrials(self.betas)

    def latents(self) -> Latents:
        return Latents(self.images, self._mark(STIMULI), self.generator)

    # --- scores

    def image_scores(self, made: Stage, label: str) -> ImageScores:
        probe = file_mark(PROBE) if self.source.simulated else None
        stimuli, metrics = self._mark(STIMULI), self.profile.metrics
        return ImageScores(made, self.images, stimuli, metrics, self.encoder, probe, label)

    def submitted_scores(self, folder: Path, preset: str, blurry: Path | None = None) -> SubmittedScores:
        content, of_blurry = (None if one is None else content_mark(files_of(one), one) for one in (folder, blurry))
        made, stimuli = Made(folder, content, blurry, of_blurry), self._mark(STIMULI)
        return SubmittedScores(made, self.images, stimuli, self.profile.metrics, preset, self.encoder)

    def estimate_scores(self, tokens: Mapping[str, Stage], shuffled: int | None = None) -> EstimateScores:
        """Of image tokens, and of text tokens where there are any."""
        text = tokens.get("text")
        goals = self.targets("image"), None if text is None else self.targets("text")
        return EstimateScores(tokens["image"], text, *goals, shuffled=shuffled)

    @cached_property
    def encoding_model(self) -> EncodingModel:
        return EncodingModel(self.targets("image"))

    # --- stimuli of other kinds

    def new_stimuli(self, statistics: str = SESSION) -> SyntheticSession:
        return SyntheticSession(self.betas, self._mark(SYNTHETIC), statistics)

    def usual_images(self, count: int) -> UsualImages:
        return UsualImages(Repetitions(self.images), count)

    def shown_targets(self, shown: Shown) -> ShownTargets:
        return ShownTargets(shown, self.encoder)

    def trial_scores(self, image: Stage, text: Stage) -> TrialScores:
        return TrialScores(image, text, Repetitions(self.images))

    def _mark(self, what: str) -> str:
        if what not in self._marks:
            self._marks[what] = self.source.mark(what, self.subject, self.profile.data)
        return self._marks[what]


def run_of(
    profile: Profile,
    subject: int,
    seed: int,
    nsd_root: Path | None = None,
    corpus_root: Path | None = None,
    world: WorldSettings | None = None,
) -> Run:
    """The run of a profile.

    Raises:
        ValueError: a subject or a source that the profile does not have, a seed below 0, real files and no folder, or
            data of the user's own that cannot be used.
    """
    if subject not in profile.subjects:
        raise ValueError(
            f"'subject' must be one of {list(profile.subjects)} on the profile '{profile.name}'. '{subject}' was "
            "provided."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"'seed' must be a whole number, 0 or more. {seed!r} was provided.")
    source = _source(profile, nsd_root, world)
    if isinstance(source, OwnData):
        source.require(subject, profile.data, profile.split.validation)
    return Run(profile, subject, seed, source, corpus_root)


def _source(profile: Profile, nsd_root: Path | None, world: WorldSettings | None) -> Source:
    if profile.source not in SOURCES:
        raise ValueError(f"'source' must be one of {', '.join(SOURCES)}. '{profile.source}' was provided.")
    if profile.folder is not None:
        if nsd_root is not None:
            raise ValueError(
                f"the profile '{profile.name}' has data of its own in '{profile.folder}', and nsd_root is "
                f"'{nsd_root}'. Give one of them."
            )
        return OwnData(Path(profile.folder))
    if profile.source == "embedded-world":
        return EmbeddedWorld(world or WorldSettings.with_sessions(profile.data.sessions), nsd_root)
    if nsd_root is None:
        raise ValueError(
            f"the profile '{profile.name}' reads real NSD files: give nsd_root, the folder that holds 'nsddata' and "
            "'nsddata_betas'. `python -m brainram_lib nsd check` lists what to fetch."
        )
    return NsdFiles(nsd_root)
