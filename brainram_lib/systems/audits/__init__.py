"""The audits by name: what a reviewer asks of a decoder today. `python -m brainram_lib audit` prints them."""

from brainram_lib.systems.audits.brain import brain
from brainram_lib.systems.audits.ceiling import ceiling
from brainram_lib.systems.audits.common import Audit, Subject
from brainram_lib.systems.audits.duplicates import duplicates
from brainram_lib.systems.audits.retrieval import retrieval
from brainram_lib.systems.audits.split import split
from brainram_lib.systems.audits.stimuli import stimuli

AUDITS = {
    "duplicates": duplicates,
    "retrieval": retrieval,
    "split": split,
    "ceiling": ceiling,
    "brain": brain,
    "stimuli": stimuli,
}

__all__ = ["AUDITS", "Audit", "Subject"]
