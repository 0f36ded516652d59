"""One run: prepared, trained, resumed; and the clock that measures a machine."""
