"""Table 3's first row: the projector with MLP blocks has the size of the one with Mamba blocks."""

from dataclasses import replace

import pytest
import torch

from brainram_lib.profiles import PROFILES
from brainram_lib.stage1.mamba import MambaBlock
from brainram_lib.stage1.projector import MlpBlock, Projector, matched_hidden

# (voxels, tokens, width of the tokens) of subject 1, image and text
SIZES = {
    "mini": [(1500, 65, 128), (1500, 24, 128)],
    "paper": [(15_724, 257, 768), (15_724, 77, 768)],
}
CASES = [(name, sizes) for name, both in SIZES.items() for sizes in both]


def parameters(module):
    return sum(weight.numel() for weight in module.parameters())


def projector_with(backbone, profile, sizes):
    """A projector without numbers, so that the paper's takes no memory."""
    with torch.device("meta"):
        return Projector(replace(PROFILES[profile].stage1.projector, backbone=backbone), *sizes)


@pytest.mark.parametrize(("profile", "sizes"), CASES)
def test_both_backbones_have_equally_many_parameters(profile, sizes):
    mamba, mlp = (projector_with(backbone, profile, sizes) for backbone in ("mamba", "mlp"))
    assert parameters(mlp) == pytest.approx(parameters(mamba), rel=0.1)
    # the projection layer is the greater part of the whole, so the blocks are compared alone too
    assert parameters(mlp.blocks) == pytest.approx(parameters(mamba.blocks), rel=0.1)
    assert len(mlp.blocks) == len(mamba.blocks) == PROFILES[profile].stage1.projector.blocks


@pytest.mark.parametrize("width", [7, 64, 768])
def test_no_other_hidden_width_is_nearer(width):
    """One hidden unit more or less is 2 D + 1 parameters; the difference is at most half of that."""
    with torch.device("meta"):
        difference = parameters(MlpBlock(width, 0.0)) - parameters(MambaBlock(width, 0.0))
    assert abs(difference) <= (2 * width + 1) / 2


def test_the_hidden_width_is_computed_without_drawing_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert matched_hidden(64) == 253  # Mamba(64) has 32,704 parameters with its norm
    assert torch.equal(torch.get_rng_state(), before)


def test_an_mlp_block_refines_every_token_alone():
    torch.manual_seed(0)
    block, x = MlpBlock(8, 0.0).eval(), torch.randn(2, 5, 8)
    changed = x.clone()
    changed[:, 3] += 1
    others = [0, 1, 2, 4]
    assert torch.equal(block(x)[:, others], block(changed)[:, others])
    assert not torch.allclose(block(x)[:, 3], block(changed)[:, 3])
