"""How a corpus is searched (section 3.3, 4.2). Imports no network, since settings alone determine a result's key."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number

# A near-duplicate of a stimulus reaches both thresholds: the layout decides, the cosine saves opening every picture.
COSINE_AT, LAYOUT_AT = 0.70, 0.97


@dataclass(frozen=True)
class RetrievalSettings(Settings):
    """Neighbours (section 3.3, 4.2).

    Raises:
        ValueError: a setting that would have no effect without another, or more neighbours than candidates.
    """

    neighbours: int = number(4, low=1)  # K per prior sample, 4.2
    # the text estimate's share if both estimates form one query; None: each modality searches alone, as in the paper
    text_weight: float | None = number(None, low=0, high=1)
    # floor of the whitening of queries over the corpus; 0: plain cosines, as in the paper
    query_whitening: float = number(0.0, low=0)
    word_weight: float = number(
        0.0, low=0
    )  # weight of the words read out of the text estimate; the weights of both embeddings add to 1
    # how many are found for each sample, of which the K best by image tokens stay; None: K are found
    candidates: int | None = number(None, low=1)
    token_weight: float = number(
        0.0, low=0
    )  # what a cosine of 1 of whitened image tokens adds to a candidate's similarity
    index: str = "Flat"
    nprobe: int | None = number(None, low=1)  # cells of an IVF index that are searched; None: the index's own
    # whether near-duplicates of a test or training stimulus are excluded; the list of them enters a key by itself
    exclude_duplicates: bool = number(False, keyed=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.word_weight and self.text_weight is None:
            raise ValueError(
                f"'retrieval.word_weight' ({self.word_weight}) needs a 'retrieval.text_weight': words ask beside both "
                "embeddings. Set it to 0 for the paper's search."
            )
        if self.token_weight and self.candidates is None:
            raise ValueError(
                f"'retrieval.token_weight' ({self.token_weight}) needs 'retrieval.candidates' to choose among. Set it "
                "to 0 to keep the most similar items."
            )
        if self.candidates is not None and self.candidates < self.neighbours:
            raise ValueError(
                f"'retrieval.candidates' must be {self.neighbours} or more: 'retrieval.neighbours' are chosen among "
                f"them. {self.candidates} was provided."
            )
