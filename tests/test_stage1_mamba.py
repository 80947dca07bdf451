"""The selective scan and the Mamba block against a plain loop and transformers' MambaMixer."""

import torch
from transformers.models.mamba.configuration_mamba import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from brainram_lib.stage1.mamba import Mamba, selective_scan, selective_scan_reference


def scan_inputs(batch=2, channels=5, length=7, state=3):
    torch.manual_seed(0)
    u, delta = torch.randn(batch, channels, length), torch.rand(batch, channels, length)
    a, d = -torch.rand(channels, state), torch.randn(channels)
    b, c = torch.randn(batch, state, length), torch.randn(batch, state, length)
    return [tensor.double() for tensor in (u, delta, a, b, c, d)]


def test_the_scan_equals_its_loop():
    inputs = scan_inputs()
    torch.testing.assert_close(selective_scan(*inputs), selective_scan_reference(*inputs))


def test_the_scan_has_the_gradient_of_its_definition():
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(batch=1, channels=2, length=4, state=3)]
    assert torch.autograd.gradcheck(selective_scan, inputs)


def test_the_block_equals_transformers_with_the_same_weights():
    torch.manual_seed(0)
    ours = Mamba(width=12, state=5, kernel=3, expand=2).eval()
    config = MambaConfig(
        hidden_size=12, state_size=5, conv_kernel=3, expand=2, time_step_rank=1, intermediate_size=24, use_bias=False
    )
    theirs = MambaMixer(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_the_block_is_causal():
    torch.manual_seed(0)
    block, x = Mamba(8).eval(), torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    with torch.no_grad():
        torch.testing.assert_close(block(x)[:, :4], block(changed)[:, :4])
        assert not torch.allclose(block(x)[:, 4:], block(changed)[:, 4:])
