"""The systems that tables compare: one file each. Importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from brainram_lib.systems.system import System, register, system_of, systems

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["System", "register", "system_of", "systems"]
