"""The selective scan and the Mamba block against a plain loop, transformers' MambaMixer and mamba-ssm's kernel."""

import sys
from types import ModuleType

import pytest
import torch
from transformers.models.mamba.configuration_mamba import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from brainram_lib.stage1.mamba import Mamba, MambaBlock, fused_scan, scan_for, selective_scan, selective_scan_reference


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


@pytest.fixture
def unasked():
    """`fused_scan` asks once; here it asks anew, and forgets."""
    fused_scan.cache_clear()
    yield
    fused_scan.cache_clear()


def test_without_the_compiled_part_a_gpu_takes_the_plain_path(unasked, monkeypatch):
    # None in sys.modules makes the import fail
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)
    assert scan_for("cuda") is selective_scan and scan_for("cpu") is selective_scan


def test_with_it_only_a_gpu_takes_the_kernel(unasked, monkeypatch):
    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = lambda *inputs: inputs[0]
    for name in ("selective_scan_cuda", "mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    assert scan_for("cuda") is interface.selective_scan_fn and scan_for("cpu") is selective_scan


@pytest.fixture
def kernel():
    """mamba-ssm's kernel, or a skip that says what is missing."""
    if not torch.cuda.is_available():
        pytest.skip("mamba-ssm's kernel runs on CUDA, and there is no GPU here; the plain path is tested above")
    if (found := fused_scan()) is None:
        pytest.skip("mamba-ssm's compiled part (selective_scan_cuda) is not installed; docs/paper.md says how")
    return found


def test_the_kernel_equals_the_plain_path_forward_and_backward(kernel):
    inputs = [tensor.float() for tensor in scan_inputs(batch=3, channels=8, length=37, state=16)]
    here = [tensor.clone().requires_grad_() for tensor in inputs]
    there = [tensor.cuda().requires_grad_() for tensor in inputs]
    ours, theirs = selective_scan(*here), kernel(*there)
    torch.testing.assert_close(theirs.cpu(), ours, atol=1e-4, rtol=1e-4)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights.cuda()).sum().backward()
    for mine, other in zip(here, there, strict=True):
        torch.testing.assert_close(other.grad.cpu(), mine.grad, atol=1e-3, rtol=1e-3)


def test_the_block_through_the_kernel_equals_the_block_on_a_cpu(kernel):
    torch.manual_seed(0)
    block, x = Mamba(width=24), torch.randn(2, 33, 24)
    expected = block(x)
    found = block.cuda()(x.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)


def test_a_block_learns_in_bfloat16_and_scans_in_single_precision(monkeypatch):
    seen = []

    def watched(*parts):
        seen.append({part.dtype for part in parts})
        return selective_scan(*parts)

    monkeypatch.setattr("brainram_lib.stage1.mamba.scan_for", lambda device: watched)
    torch.manual_seed(0)
    block, x = MambaBlock(12, 0.0), torch.randn(2, 5, 12)
    whole = block(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x)
    half.float().square().sum().backward()
    assert seen == [{torch.float32}] * 2
    torch.testing.assert_close(half.float(), whole, atol=0.05, rtol=0.05)
    assert all(torch.isfinite(weight.grad).all() for weight in block.parameters())
