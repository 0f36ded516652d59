"""What the network sees next: every file here registers its regimes."""

from importlib import import_module
from pkgutil import iter_modules

from entr_utils.regimes.base import REGIMES, Regime, parse, register

for name in ("sizes", *(module.name for module in iter_modules(__path__))):  # the paper's first: looks follow the order
    import_module(f"{__name__}.{name}")

__all__ = ["REGIMES", "Regime", "parse", "register"]
