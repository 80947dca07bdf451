"""What each stage computes and writes into its result's folder. `Workbench` decides when and with what.

Every function takes a folder that may hold what an interrupted run left, and returns when its files are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.attribution.decoders import Decoder
from brainram_lib.attribution.gradients import integrated_gradients
from brainram_lib.attribution.scores import Score
from brainram_lib.core.devices import accelerator
from brainram_lib.core.ridge import fit_ridge
from brainram_lib.core.rows import Rows
from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.generation.selection import choose
from brainram_lib.profiles import Profile
from brainram_lib.stage1.linear import cross_fitted
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples, train_prior
from brainram_lib.stage2.ram import Ram
from brainram_lib.stage2.training import RamExamples, refined_blocks, train_ram

SPLITS = ("train", "test")
SAMPLE_CHUNK = 256
Arrays = dict[str, np.ndarray]


def validation_rows(count: int, validation: int) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """The fixed split of the training images into those that fit and the validation slice, spread over the nsdIds."""
    chosen = np.linspace(0, count - 1, validation).round().astype(int)
    return np.setdiff1d(np.arange(count), chosen), chosen


def make_ridge(folder: Path, betas: Arrays, targets: Float[np.ndarray, "n tokens width"], validation: int) -> None:
    """The ridge baseline and its estimates: cross-fitted for the images it was fitted on, plain for all others."""
    fit, held = validation_rows(len(targets), validation)
    tokens = np.asarray(targets, np.float32)
    parts = betas["train"][fit], tokens[fit], betas["train"][held], tokens[held]
    ridge = fit_ridge(*parts)
    ridge.save(folder / "ridge.safetensors")
    write_array(folder / "test.npy", ridge.predict(betas["test"]))
    write_json(folder / "fit.json", {"alphas": ridge.alphas.tolist(), "validation_r2": ridge.r2.tolist()})
    estimates = ridge.predict(betas["train"][held])
    # its maps are as large as the tokens, and the cross-fitted ridges have their own
    del ridge
    crossed = cross_fitted(*parts)
    write_blocks(folder / "train.npy", len(tokens), _interleaved(fit, crossed, held, estimates))


def _interleaved(fit: np.ndarray, crossed: np.ndarray, held: np.ndarray, plain: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of two arrays in the order of the images that they are of."""
    place = np.argsort(np.concatenate([fit, held]))
    for row in place:
        yield (crossed[row] if row < len(fit) else plain[row - len(fit)])[None]


def as_tensor(array: np.ndarray) -> Tensor:
    """A float32 tensor of an array that may be memory-mapped or of half precision."""
    return torch.from_numpy(np.array(array, dtype=np.float32))


def brain_inputs(
    profile: Profile,
    betas: Float[np.ndarray, "n voxels"],
    linear: Float[np.ndarray, "n tokens width"],
    chosen: Int[np.ndarray, " rows"] | None = None,
) -> tuple[Rows, Rows | None]:
    """What a prior sees of brains: betas, and the ridge estimate only where the profile has a linear path."""
    return Rows(betas, chosen), Rows(linear, chosen) if profile.stage1.projector.linear_path else None


def make_prior(
    folder: Path, profile: Profile, betas: np.ndarray, linear: np.ndarray, targets: np.ndarray, seed: int, label: str
) -> None:
    """Stage I for one modality: train on the fitting images, watch the validation slice."""
    fit, held = (
        Examples(*brain_inputs(profile, betas, linear, chosen), Rows(targets, chosen))
        for chosen in validation_rows(len(targets), profile.data.validation_images)
    )
    prior, history = train_prior(profile.stage1, fit, held, folder, seed, label)
    prior.save(folder / "prior.safetensors")
    write_json(folder / "history.json", history)


def load_prior(folder: Path, profile: Profile, voxels: int, tokens: int, width: int) -> Prior:
    """The prior that `make_prior` wrote, on a GPU where there is one."""
    return Prior(profile.stage1, voxels, tokens, width).load(folder / "prior.safetensors").to(accelerator())


def make_estimates(folder: Path, profile: Profile, prior: Prior, betas: Arrays, linear: Arrays, seed: int) -> None:
    """S samples of the prior for every stimulus of both splits, (n, S, T, D), kept as float16."""
    seeds = range(seed * 1000, seed * 1000 + profile.stage1.samples)
    for split in SPLITS:
        blocks = sampled(prior, *brain_inputs(profile, betas[split], linear[split]), seeds, f"prior samples, {split}")
        write_blocks(folder / f"{split}.npy", len(betas[split]), blocks)


def make_attribution(folder: Path, decoder: Decoder, score: Score, betas: Arrays, batch: int) -> None:
    """Which voxels move a score of the test images' estimates away from that of the mean pattern."""
    baseline = as_tensor(betas["train"]).mean(0)
    found = integrated_gradients(decoder, score, as_tensor(betas["test"]), baseline, batch=batch)
    write_array(folder / "values.npy", found.values)
    write_array(folder / "gained.npy", found.gained)


def sampled(
    prior: Prior,
    betas: Float[Tensor, "n voxels"] | Rows,
    linear: Float[Tensor, "n tokens width"] | Rows | None,
    seeds: Sequence[int],
    label: str,
) -> Iterator[Float16[np.ndarray, "rows samples tokens width"]]:
    """One sample of the prior for every seed, for SAMPLE_CHUNK stimuli after the other."""
    starts = range(0, len(betas), SAMPLE_CHUNK)
    with tqdm(total=len(starts) * len(seeds), desc=label, unit="batch") as bar:
        for start in starts:
            rows = slice(start, start + SAMPLE_CHUNK)
            inputs = betas[rows], None if linear is None else linear[rows]
            samples = []
            for seed in seeds:
                samples.append(prior.sample(*inputs, seed + start).half())
                bar.update()
            yield torch.stack(samples, 1).numpy()


def whitened_by(whitening: TokenWhitening) -> Callable[[Tensor], Tensor]:
    """Tokens in CLIP's units, of any precision and from any device -> whitened ones, where the whitening is."""
    return lambda tokens: whitening(tokens.to(whitening.mean.device).float())


class CorpusTokens:
    """Rows of the corpus -> their tokens in a prior's whitened units.

    Tokens are held as they come, in half precision if they come so, and whitened when they are asked for.
    """

    def __init__(
        self, ids: Int[np.ndarray, " m"], tokens: Float[Tensor, "m tokens width"], whitening: TokenWhitening
    ) -> None:
        self._place = torch.full((int(ids.max()) + 1,), -1, dtype=torch.int64)
        self._place[torch.from_numpy(ids)] = torch.arange(len(ids))
        self._tokens, self._whitened = tokens, whitened_by(whitening)

    def __call__(self, rows: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape tokens width"]:
        return self._whitened(self._tokens[self._place[rows]])


def make_ram(
    folder: Path,
    profile: Profile,
    whitening: TokenWhitening,
    estimates: np.ndarray,
    neighbours: np.ndarray,
    targets: np.ndarray,
    tokens_of: CorpusTokens,
    seed: int,
    label: str,
) -> None:
    """Stage II for one modality: train on the fitting images, watch the validation slice."""
    whitened = whitened_by(whitening)
    fit, held = (
        RamExamples(
            Rows(estimates, chosen, whitened), torch.from_numpy(neighbours[chosen]), Rows(targets, chosen, whitened)
        )
        for chosen in validation_rows(len(targets), profile.data.validation_images)
    )
    ram, history = train_ram(profile.stage2, fit, held, tokens_of, folder, seed, label)
    weights = {name: weight.contiguous() for name, weight in ram.state_dict().items()}
    save_file(weights, folder / "ram.safetensors")
    write_json(folder / "history.json", history)


def load_ram(folder: Path, profile: Profile, neighbours: int, tokens: int, width: int) -> Ram:
    """The RAM that `make_ram` wrote, on a GPU where there is one."""
    ram = Ram(profile.stage2, neighbours, tokens, width)
    ram.load_state_dict(load_file(folder / "ram.safetensors"))
    return ram.eval().to(accelerator())


def make_refined(
    folder: Path,
    ram: Ram,
    whitening: TokenWhitening,
    estimates: np.ndarray,
    neighbours: np.ndarray,
    tokens_of: CorpusTokens,
) -> None:
    """p + q for every sample of every test stimulus, in CLIP's units, and the weights that the RAM gave."""
    p, ids = Rows(estimates, mapped=whitened_by(whitening)), torch.from_numpy(np.array(neighbours))
    weights = []

    def blocks() -> Iterator[np.ndarray]:
        for refined, weight in refined_blocks(ram, p, ids, tokens_of):
            weights.append(weight.cpu())
            yield whitening.restored(refined).half().cpu().numpy()

    write_blocks(folder / "test.npy", len(ids), blocks())
    write_array(folder / "weights.npy", torch.cat(weights).numpy())


def make_reconstructions(
    folder: Path,
    image: Float[np.ndarray, "n samples image_tokens width"],
    text: Float[np.ndarray, "n samples text_tokens text_width"],
    neighbours: Float[np.ndarray, "n pictures image_tokens width"] | None,
    pictures: int,
    paint: Callable[..., UInt8[np.ndarray, "m height width 3"]],
    encode: Callable[[np.ndarray], Tensor],
    label: str,
) -> None:
    """`pictures` of each stimulus, and the one of them that agrees best with the brain's own estimate.

    Sample s guides the picture s, s + S, ...: an estimate without samples is painted as often as the others, from
    other noise. `paint(image, text, label, neighbours=...)` generates from the estimates, guided also by neighbours'
    tokens where there are any, and `encode` gives a picture's image tokens. Neither sees the stimulus.
    """
    n, samples = image.shape[:2]
    turns = np.arange(pictures) % samples
    every = [one[:, turns].reshape(-1, *one.shape[2:]) for one in (image, text)]
    guiding = None if neighbours is None else neighbours.reshape(-1, *neighbours.shape[2:])
    painted = paint(*every, label, neighbours=guiding)
    painted = painted.reshape(n, pictures, *painted.shape[1:])
    chosen = choose(painted, as_tensor(image), encode)
    write_array(folder / "samples.npy", painted)
    write_array(folder / "agreement.npy", chosen.agreement)
    write_array(folder / "chosen.npy", chosen.images)


def encode_targets(
    folder: Path,
    encode: Callable[[object], Tensor],
    items: dict[str, Sequence[object] | np.ndarray],
    chunk: int,
    label: str,
) -> None:
    """Tokens of both splits' stimuli (or of their captions), float32."""
    for split in SPLITS:
        starts = tqdm(range(0, len(items[split]), chunk), desc=f"{label}, {split}")
        blocks = (encode(items[split][start : start + chunk]).numpy() for start in starts)
        write_blocks(folder / f"{split}.npy", len(items[split]), blocks)
