"""The audits by name: what a reviewer asks of a decoder today. `python -m brainram_lib audit` prints them."""

from brainram_lib.systems.audits.common import Audit, Subject
from brainram_lib.systems.audits.duplicates import duplicates
from brainram_lib.systems.audits.retrieval import retrieval

AUDITS = {"duplicates": duplicates, "retrieval": retrieval}

__all__ = ["AUDITS", "Audit", "Subject"]
