"""A second device without a GPU: tensors that say they lie on 'meta' and compute on the CPU all the same.

Where a real GPU would refuse, so does this: an operation that meets tensors of both places fails. So does one that
draws on the device, since its numbers would be other ones. All else gives the CPU's numbers.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
# Operations that a GPU lets reach over: copies, and indices that come from the CPU.
REACHING = ("aten._to_copy", "aten.copy_", "aten.index.Tensor", "aten.index_put")
DRAWING = ("aten.randn", "aten.rand.", "aten.randint", "aten.randperm")


class Elsewhere(torch.Tensor):
    """A tensor on the second device; `here` holds its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        """Wrap numbers."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
            requires_grad=here.requires_grad,
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Reached only outside `SecondDevice`, or by its own calls."""
        return dispatched(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class SecondDevice(TorchDispatchMode):
    """While it is on, whatever is put on `DEVICE` is kept and watched."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Every operation of every tensor."""
        return dispatched(func, args, kwargs or {})


def dispatched(func, args, kwargs):
    """One operation, on the numbers; its outputs lie where a GPU would have them."""
    name = str(func)
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    there = [one for one in tensors if isinstance(one, Elsewhere)]
    if there and not name.startswith(REACHING):
        strays = [one for one in tensors if not isinstance(one, Elsewhere) and one.ndim]
        assert not strays, f"{name} meets tensors of two devices, {[tuple(one.shape) for one in tensors]}"
    asked = kwargs.get("device")
    placed_there = bool(there) if asked is None else torch.device(asked) == DEVICE
    if asked is not None and placed_there:
        assert not name.startswith(DRAWING), f"{name} draws on the device: draw on the CPU, then move"
        kwargs = kwargs | {"device": torch.device("cpu")}
    if name.startswith("aten.copy_"):
        placed_there = isinstance(args[0], Elsewhere)
    plain = tree_map(lambda one: one.here if isinstance(one, Elsewhere) else one, (args, kwargs))
    found = func(*plain[0], **plain[1])
    # what works in place gives back the very tensor that it was given
    own = {id(one.here): one for one in there}

    def placed(one):
        return own[id(one)] if id(one) in own else Elsewhere(one) if isinstance(one, torch.Tensor) else one

    return tree_map(placed, found) if placed_there else found
