"""Two diffusion processes over whitened or scaled tokens: the paper's (eq. 1), and this workbench's residual process.

A process adds noise, defines what the network predicts, and draws samples. It knows nothing of betas or the projector:
the condition is given as tokens, in the same units as x_0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor, nn

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
# (noisy tokens, level of noise of each row, condition) -> x_0
Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]


class Process(nn.Module, ABC):
    """How x_0 becomes noise and comes back. A level is a diffusion time (eq. 1) or a standard deviation of noise."""

    @property
    @abstractmethod
    def blind(self) -> float:
        """The level at which x holds nothing of x_0."""

    @property
    @abstractmethod
    def ladder(self) -> tuple[float, ...]:
        """Levels from low to high noise, for inspection."""

    @abstractmethod
    def noise_ratio(self, level: float) -> float:
        """Standard deviation of the noise in x at a level, scaled so that x_0 has factor one."""

    @abstractmethod
    def levels(self, count: int, random: torch.Generator) -> Float[Tensor, " count"]:
        """The levels of one training batch."""

    @abstractmethod
    def noised(
        self, x0: Tensor, level: Tensor, noise: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """x at a level. At `blind` it contains nothing of `x0`."""

    @abstractmethod
    def denoised(
        self, network: Network, x: Tensor, level: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """The expectation of x_0, given x at a level and the condition."""

    @abstractmethod
    def errors(self, estimate: Tensor, x0: Tensor, level: Tensor) -> Float[Tensor, "batch tokens width"]:
        """Squared errors, weighted as in training."""

    @abstractmethod
    def sample(
        self, denoise: Denoise, condition: Tensor, noise: Noise, steps: int
    ) -> Float[Tensor, "batch tokens width"]:
        """One draw for each row, in `steps` steps from noise."""


class Cosine(Process):
    """Eq. 1: x_t = sqrt(a_t) s x_0 + sqrt(1 - a_t) eps over T times, a_t by the cosine schedule; the network gives x_0.

    The paper gives neither T nor the schedule nor the tokens' units: T = 100 is the released code's. s is the scale
    of the tokens (`Stage1Settings.token_size`): with s = 1, thousands of numbers together reveal x_0 at nearly every
    time, so the network reads x_t and ignores the condition; the smaller s, the more times at which it needs the
    condition.
    """

    def __init__(self, times: int, size: float = 1.0) -> None:
        super().__init__()
        self.times, self.size = times, size
        self.schedule = DDIMScheduler(
            times,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    @property
    def blind(self) -> float:
        """The last time."""
        return float(self.times - 1)

    @property
    def ladder(self) -> tuple[float, ...]:
        """From the first time to the last but one, in steps that about double."""
        last = self.times - 2
        return tuple(float(t) for t in (0, 1, 2, 4, 8, 16, 32, 64, 90) if t < last) + (float(last),)

    def noise_ratio(self, level: float) -> float:
        """sqrt((1 - a_t) / a_t) / s."""
        a = float(self.schedule.alphas_cumprod[int(level)])
        return ((1 - a) / a) ** 0.5 / self.size

    def levels(self, count: int, random: torch.Generator) -> Float[Tensor, " count"]:
        """Times drawn uniformly."""
        return torch.randint(self.times, (count,), generator=random).float()

    def noised(
        self, x0: Tensor, level: Tensor, noise: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """Eq. 1. At the last time sqrt(a_t) is nearly 0, and taken as 0."""
        noisy = self.schedule.add_noise(self.size * x0, noise, level.long())
        return torch.where((level == self.blind)[:, None, None], noise, noisy)

    def denoised(
        self, network: Network, x: Tensor, level: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """The network's x_0 (eq. 2)."""
        return network(x, level, condition)

    def errors(self, estimate: Tensor, x0: Tensor, level: Tensor) -> Float[Tensor, "batch tokens width"]:
        """(p - x_0)^2, the same at every time (eq. 6)."""
        return (estimate - x0).square()

    def sample(
        self, denoise: Denoise, condition: Tensor, noise: Noise, steps: int
    ) -> Float[Tensor, "batch tokens width"]:
        """Ancestral sampling over `steps` of the times.

        One step gives the expectation; more steps come closer to a posterior draw, which is further from the truth.
        """
        x = noise()
        # the scheduler reads single numbers from its table, and `noised` may have left that on a GPU
        self.schedule.alphas_cumprod = self.schedule.alphas_cumprod.cpu()
        self.schedule.set_timesteps(steps)
        for t in self.schedule.timesteps:
            level = torch.full((len(x),), float(t), device=x.device)
            x0 = denoise(x, level, condition)
            x = self.schedule.step(self.size * x0, t, x, eta=1.0, variance_noise=noise()).prev_sample
        return x / self.size


class Residual(Process):
    """x = x_0 + sigma eps, preconditioned around the condition, in the manner of Karras et al. (2022).

    With e the standard deviation of x_0 - condition (of each feature, measured on training images):

        D(x; sigma) = c + e^2 / (e^2 + sigma^2) (x - c) + sigma e / sqrt(e^2 + sigma^2) F((x - c) / sqrt(e^2 + sigma^2))

    With F = 0 this is the best linear estimate: the condition c where there is much noise, x where there is little. The
    network F learns what that misses. Sigma is log-normal in training. A share of the rows has the largest sigma, where
    x is left out and D is the expectation of x_0 given the condition alone: thousands of numbers, however noisy each,
    would together still reveal x_0, and errors measured there would not be those of a sample that starts from noise.
    """

    LARGEST, SMALLEST, CURVE = 80.0, 0.02, 7.0
    CENTRE, WIDTH, PURE = -0.2, 1.4, 0.25

    spread: Float[Tensor, "tokens width"]

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(tokens, width))

    @torch.no_grad()
    def fit(self, mean_square: Float[Tensor, "tokens width"]) -> None:
        """Take e^2 from the mean squared residuals of training images; a feature with none is never changed."""
        self.spread.copy_(mean_square.sqrt())

    @property
    def blind(self) -> float:
        """The largest sigma; there x is noise around the condition."""
        return self.LARGEST

    @property
    def ladder(self) -> tuple[float, ...]:
        """Sigmas that grow by factors of two to three."""
        return (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

    def noise_ratio(self, level: float) -> float:
        """Sigma itself."""
        return level

    def levels(self, count: int, random: torch.Generator) -> Float[Tensor, " count"]:
        """exp(CENTRE + WIDTH n), n standard normal; a share PURE of them is the largest sigma."""
        sigma = (self.CENTRE + self.WIDTH * torch.randn(count, generator=random)).exp()
        pure = torch.rand(count, generator=random) < self.PURE
        return torch.where(pure, torch.full_like(sigma, self.LARGEST), sigma)

    def noised(
        self, x0: Tensor, level: Tensor, noise: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """x_0 + sigma eps, or condition + sigma eps at the largest sigma, as sampling begins."""
        sigma = level[:, None, None]
        return torch.where(sigma < self.LARGEST, x0, condition) + sigma * noise

    def denoised(
        self, network: Network, x: Tensor, level: Tensor, condition: Tensor
    ) -> Float[Tensor, "batch tokens width"]:
        """D of the class's equation."""
        sigma, e2 = level[:, None, None], self.spread.square()
        total = (e2 + sigma.square()).sqrt()
        # x says nothing at the largest sigma, so the network need not learn to ignore it
        away = torch.where(sigma < self.LARGEST, x - condition, 0)
        f = network(away / total, 25 * level.log(), condition)
        return condition + e2 / total.square() * away + sigma * self.spread / total * f

    def errors(self, estimate: Tensor, x0: Tensor, level: Tensor) -> Float[Tensor, "batch tokens width"]:
        """(D - x_0)^2 in units of sigma^2 e^2 / (e^2 + sigma^2), the variance that the best linear estimate leaves."""
        sigma, e2 = level[:, None, None], self.spread.square()
        left = sigma.square() * e2 / (e2 + sigma.square())
        live = left > 0
        return torch.where(live, (estimate - x0).square() / torch.where(live, left, torch.ones_like(left)), 0)

    def sample(
        self, denoise: Denoise, condition: Tensor, noise: Noise, steps: int
    ) -> Float[Tensor, "batch tokens width"]:
        """Heun's method over `steps` sigmas, spaced as Karras et al. do; 2 steps - 1 evaluations.

        One step gives the expectation of x_0.
        """
        high, low = self.LARGEST ** (1 / self.CURVE), self.SMALLEST ** (1 / self.CURVE)
        between = ((high + torch.linspace(0, 1, steps)[1:] * (low - high)) ** self.CURVE).tolist()
        # exactly the largest: there x is left out
        sigmas = [self.LARGEST, *between, 0.0]
        x = condition + self.LARGEST * noise()

        def slope(x: Tensor, sigma: float) -> Tensor:
            return (x - denoise(x, torch.full((len(x),), sigma, device=x.device), condition)) / sigma

        for here, there in zip(sigmas[:-1], sigmas[1:], strict=True):
            first = slope(x, here)
            moved = x + (there - here) * first
            if there > 0:
                moved = x + (there - here) * (first + slope(moved, there)) / 2
            x = moved
        return x
