"""The tests of bench and faults borrow the package's: a place of their own, a tiny network, records made by hand."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
borrowed = importlib.util.spec_from_file_location("of_the_package", ROOT / "tests" / "conftest.py")
assert borrowed
assert borrowed.loader
of_the_package = importlib.util.module_from_spec(borrowed)
sys.modules["of_the_package"] = of_the_package  # dataclasses look their module up
borrowed.loader.exec_module(of_the_package)  # sets the environment, before torch is imported
place, narrow = of_the_package.place, of_the_package.narrow
