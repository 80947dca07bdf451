"""What sizes, trains and samples Stage I (section 3.2, 4.2). Imports no network: settings alone determine keys."""

from __future__ import annotations

from dataclasses import dataclass

from brainram_lib.core.settings import Settings, number

SCALED, WHITENED = "scaled", "whitened"
COSINE, RESIDUAL = "cosine", "residual"
ESTIMATES, HEAD, NOTHING = "estimates", "head", "nothing"
DRAW, MEAN = "draw", "mean"


@dataclass(frozen=True)
class ProjectorSettings(Settings):
    """Phi_proj (section 3.2). The paper gives no sizes.

    Attributes:
        voxel_dropout: dropout of the betas; 0 in the authors' code.
        first_dropout: dropout after the first layer; 0: the same as elsewhere, `dropout`.
    """

    hidden: int = number(low=1)
    width: int = number(low=1)
    blocks: int = number(low=0)
    dropout: float = number(low=0, high=0.95)
    voxel_dropout: float = number(low=0, high=0.95)
    first_dropout: float = number(0.0, low=0, high=0.95, neutral=0.0)
    backbone: str = number("mamba", one_of=("mamba", "mlp"))
    linear_path: bool = False


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """f of eq. 2. The paper gives no sizes.

    Attributes:
        kind: 'unet', the paper's, attends to the condition by cross-attention; 'transformer' reads it beside each
            token.
    """

    width: int = number(low=1)
    depth: int = number(low=0)
    heads: int = number(low=1)
    kind: str = number("unet", one_of=("unet", "transformer"))


@dataclass(frozen=True)
class Stage1Settings(Settings):
    """Networks and training of one prior (section 3.2, 4.2). Defaults are as printed, or as the comment says.

    Attributes:
        units: of the tokens inside the prior: 'scaled' divides all by one number, 'whitened' weights all directions
            equally.
        token_size: s of sqrt(a_t) s x_0 + sqrt(1 - a_t) eps, with x_0 of root mean square 1: eps of eq. 1 has unit
            variance, and the paper gives no units of its tokens.
        process: 'cosine' is eq. 1; 'residual' diffuses what the condition misses (`stage1.process`).
        contrast: what eq. 3 and 5 compare: the prior's 'estimates', a 'head' behind the projector, or 'nothing'.
        free_share: share of a batch taken from the corpus, with a simulated condition; these rows need no betas.
        free_items: how many of the corpus's first items these rows are drawn from.
        free_captions: how many similar captions a text row is the mean of; a stimulus has five.
        clip: gradients are scaled down to this norm; None: never, as in the authors' code.
        start: folder of networks pretrained on the corpus, inside this package or elsewhere; '' for none.
    """

    projector: ProjectorSettings
    network: NetworkSettings
    epochs: int = number(low=1)
    batch: int = number(low=2)
    gamma: float = number(0.8, low=0, high=1)  # 4.2
    beta: float = number(0.3, low=0)  # 4.2
    temperature: float = number(0.006, above=0)  # not given; MindEye's
    mixco_alpha: float = number(0.15, above=0)  # Beta(alpha, alpha), not given; MindEye's
    peak_rate: float = number(2.5e-4, above=0)  # 4.2
    weight_decay: float = number(1e-2, low=0)  # AdamW's default (4.2)
    diffusion_steps: int = number(100, low=1)  # T of eq. 1, not given; the authors' code
    units: str = number(SCALED, one_of=(SCALED, WHITENED))
    token_size: float = number(1.0, above=0, neutral=1.0)  # not given; token 0 has 1 in MindEye's code
    process: str = number(COSINE, one_of=(COSINE, RESIDUAL))
    contrast: str = number(ESTIMATES, one_of=(ESTIMATES, HEAD, NOTHING))
    free_share: float = number(0.0, low=0, high=0.9)
    free_items: int = number(4_000, low=1)
    free_captions: int = number(1, low=1)
    start: str = ""
    whitening_floor: float = number(0.01, above=0)  # floor of C + floor * identity, as a share of the mean variance
    validation_steps: int = number(10, low=1)  # number of steps of the sample that the history reports
    clip: float | None = number(1.0, above=0, neutral=1.0)
    accumulate: int = number(1, low=1)
    precision: str = number("float32", one_of=("float32", "bf16"))

    @property
    def rows(self) -> int:
        """Rows of a whole batch, with and without betas: what must fit on the device that trains the prior."""
        return round(self.batch / (1 - self.free_share))


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """What p is.

    Attributes:
        samples: S (4.2).
        steps: number of steps of one draw; not given in the paper: all diffusion times.
        kind: 'draw', as printed, or the 'mean' of all draws, which one evaluation gives. A draw's squared error is
            larger by the posterior's whole variance.
        training: whether training images are sampled too, on which Stage II trains; a system that ends with Stage I
            needs only the test images'.
    """

    samples: int = number(4, low=1)  # 4.2
    steps: int = number(100, low=1)  # not given: all diffusion times
    kind: str = number(DRAW, one_of=(DRAW, MEAN))
    training: bool = number(True, neutral=True)
