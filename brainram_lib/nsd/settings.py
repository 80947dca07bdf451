"""Which betas a profile prepares. Imports no network, since settings alone determine a saved result's key."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number


@dataclass(frozen=True)
class DataSettings(Settings):
    """Which betas, and how they are prepared (METHOD: z-score per session and voxel, mean over repetitions)."""

    sessions: int = number(low=1, high=40)
    beta_version: str = "betas_fithrf_GLMdenoise_RR"
    roi: str = "nsdgeneral"
    normalisation: str = "session-z"
