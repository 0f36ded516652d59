"""What the network sees next: every file here registers its regimes."""

from importlib import import_module
from pkgutil import iter_modules

from entr_utils.regimes.base import REGIMES, Regime, parse, register

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

__all__ = ["REGIMES", "Regime", "parse", "register"]
