"""How the mini CLIP is trained, on scenes of the set 'models': `python -m brainram_lib world train-clip`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from brainram_lib.core.devices import accelerator, in_bfloat16
from brainram_lib.recipes.material import captions_of_set, render_set
from brainram_lib.recipes.training import Budget, run
from brainram_lib.world.mini_clip import ASSETS, PIXEL_MEAN, PIXEL_STD, CompactTokenizer, build

MATERIAL_SET = "models"
HELD_OUT = 300


@dataclass(frozen=True)
class Phase:
    """One part of the training: its patches, its share of the budget, and its share of the peak rate."""

    patch: int
    share: float
    rate: float


# Large patches first: a quarter of the tokens, so many more steps in the same time. The small patches that the
# generator needs, to know an object from its tokens, are then refined from them.
PHASES = (Phase(16, 0.65, 1.0), Phase(8, 0.35, 0.6))
BATCH = 160


def pieces_in_use(captions: list[list[str]]) -> list[int]:
    """The byte-pair ids that occur in the captions, sorted."""
    bpe = SimpleTokenizer()
    words = {text for group in captions for text in group}
    return sorted({piece for text in words for piece in bpe.encode(text)})


def with_finer_patches(weights: dict[str, Tensor], factor: int) -> dict[str, Tensor]:
    """The weights of a CLIP whose patches are `factor` times smaller, as a start.

    A kernel (d, 3, P, P) is summed over squares of `factor`, so that an even patch gives the same token; the codes of
    places are interpolated.
    """
    kernel, places = weights["visual.conv1.weight"], weights["visual.positional_embedding"]
    kernel = kernel.unflatten(3, (-1, factor)).sum(4).unflatten(2, (-1, factor)).sum(3)
    side = math.isqrt(len(places) - 1)
    grid = places[1:].T.unflatten(1, (side, side))[None]
    finer = nn.functional.interpolate(grid, scale_factor=factor, mode="bilinear")[0].flatten(1).T
    changed = {"visual.conv1.weight": kernel, "visual.positional_embedding": torch.cat([places[:1], finer])}
    return {**weights, **changed}


def to_pixels(images: np.ndarray) -> Float[Tensor, "n 3 height width"]:
    """uint8 pictures (n, H, W, 3) -> normalised float (n, 3, H, W)."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(PIXEL_MEAN).view(3, 1, 1)) / torch.tensor(PIXEL_STD).view(3, 1, 1)


def contrastive_loss(model: CLIP, pixels: Tensor, ids: Tensor) -> Float[Tensor, ""]:
    """The symmetric InfoNCE of CLIP over one batch."""
    image, text, scale = model(pixels, ids)
    logits = scale * image @ text.T
    target = torch.arange(len(logits), device=logits.device)
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def held_out_top1(model: CLIP, images: np.ndarray, ids: Tensor) -> tuple[float, float]:
    """Share of pairs found first among all of the set: caption for image, image for caption."""
    model.eval()
    device = model.logit_scale.device
    image, text, _ = model(to_pixels(images).to(device), ids.to(device))
    similarity = image @ text.T
    right = torch.arange(len(similarity), device=device)
    model.train()
    return (similarity.argmax(1) == right).float().mean().item(), (similarity.argmax(0) == right).float().mean().item()


@dataclass(frozen=True)
class Material:
    """Pictures and the token ids of their captions, (n, captions, context)."""

    images: UInt8[np.ndarray, "n height width 3"]
    ids: Int64[Tensor, "n captions context"]

    def top1(self, model: CLIP) -> tuple[float, float]:
        """`held_out_top1` on the last 300."""
        return held_out_top1(model, self.images[-HELD_OUT:], self.ids[-HELD_OUT:, 0])


def train(work: Path, *, scenes: int, budget: Budget, seed: int = 0) -> None:
    """Train on the first `scenes` of the models' set and write `assets/mini_clip`; the last 300 are held out."""
    torch.manual_seed(seed)
    images = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    captions = captions_of_set(MATERIAL_SET, scenes)
    tokenizer = CompactTokenizer(pieces_in_use(captions))
    material = Material(images, torch.stack([tokenizer(group) for group in tqdm(captions, desc="tokenise")]))
    model = None
    for phase in PHASES:
        coarse, model = model, build(tokenizer.vocab_size, phase.patch)
        if coarse is not None:
            factor = model.visual.grid_size[0] // coarse.visual.grid_size[0]
            model.load_state_dict(with_finer_patches(coarse.state_dict(), factor))
        _train_phase(work, model, material, phase, budget, seed)
    _save(model, tokenizer)
    print(f"mini CLIP, held-out top-1 of {HELD_OUT}: {material.top1(model)}")


def _train_phase(work: Path, model: CLIP, material: Material, phase: Phase, budget: Budget, seed: int) -> None:
    part, device = budget.part(phase.share, phase.rate), accelerator()
    model.to(device)
    optimizer = torch.optim.AdamW(_decayed_and_plain(model))
    name = f"mini CLIP, patches of {phase.patch}"
    for step, bar in run(part, model, optimizer, work / f"clip_{phase.patch}.safetensors", name):
        # a step's draws depend on its number alone: a resumed training sees new ones, not its first again
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(0, len(material.images) - HELD_OUT, BATCH)
        shown = material.ids[rows, rng.integers(0, material.ids.shape[1], BATCH)]
        # bfloat16 and plain attention shorten a step and do not move the held-out score
        with in_bfloat16(device), sdpa_kernel(SDPBackend.MATH):
            loss = contrastive_loss(model, to_pixels(material.images[rows]).to(device), shown.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 100 == 0:
            found = material.top1(model)
            bar.set_postfix_str(f"step {step}, loss {loss.item():.3f}, held-out top-1 {found[0]:.2f} / {found[1]:.2f}")


def _decayed_and_plain(model: CLIP) -> list[dict]:
    """Matrices decay; gains, biases and the temperature do not."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim <= 1]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]


def _save(model: CLIP, tokenizer: CompactTokenizer) -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    partial = ASSETS / "open_clip_model.safetensors.partial"
    save_file({name: weight.half().contiguous() for name, weight in model.state_dict().items()}, partial)
    partial.replace(ASSETS / "open_clip_model.safetensors")
    (ASSETS / "vocabulary.json").write_text(json.dumps(tokenizer.pieces))
