"""The bench's figure; no torch here."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from entr_utils.figures import new


def ceiling(bench: dict) -> Figure | None:
    """The loop's speed over that of the bare step by size, a line for each network and what trains.

    Bars reach from the smallest to the largest pair; dots are medians. None where it was not measured.
    """
    if "ceiling" not in bench:
        return None
    rows = pd.DataFrame(bench["ceiling"]["result"])
    rows["curve"] = rows["network"] + ", " + rows["trains"]
    figure, (axis,) = new(8, 3.8)
    curves = list(dict.fromkeys(rows["curve"]))
    looks = zip(curves, sns.color_palette("colorblind"), "osD^v<>", ("-", "--", ":", "-.") * 2, strict=False)
    for i, (curve, colour, marker, line) in enumerate(looks):
        part = rows[rows["curve"] == curve]
        beside = part["size"] + 2 * (i - (len(curves) - 1) / 2)  # so that the bars of a size stand side by side
        reach = [part["ratio"] - part["ratio_low"], part["ratio_high"] - part["ratio"]]
        axis.errorbar(beside, part["ratio"], reach, color=colour, marker=marker, linestyle=line, capsize=3, label=curve)
    axis.axhline(1, color="black", linewidth=1)
    axis.set(xlabel="image size in pixels", ylabel="bare step / step of the loop", ylim=(0, None))
    axis.set_xticks(sorted(set(rows["size"])))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    least, most = rows["pairs"].min(), rows["pairs"].max()
    caption = f"1 is the ceiling. Medians of n = {least} to {most} pairs; bars from the smallest to the largest pair."
    figure.supxlabel(caption, fontsize=8, x=0.01, ha="left", color="dimgrey")
    return figure
