"""Lines that say how far a part is: one for each cell that is done."""

import time

from entr_utils.progress import minutes


class Told:
    """A line for each cell of a part as it is done, with what the others will take; costs are in any unit."""

    def __init__(self, costs: list[float]):
        self.costs, self.done, self.began = costs, 0, time.monotonic()

    def __call__(self, text: str) -> None:
        """Say that the next cell is done."""
        self.done += 1
        share = sum(self.costs[: self.done]) / sum(self.costs)
        left = (time.monotonic() - self.began) * (1 - share) / share
        print(f"  {text}" + (f"; about {minutes(left)} left" if self.done < len(self.costs) else ""), flush=True)
