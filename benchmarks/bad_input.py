"""The bad-input table: what may be fed to the project, what happens, and the exact line that is said.

"fatal" is a UserError: one line, exit code 2, nothing trained. "left out" is not used, counted and named in the record
and the notebook, and the rest goes on. "reported" is used, and said there too. "read" is used.
"""

import html

from benchmarks.bad_files import FILES
from benchmarks.bad_folders import FOLDERS, IMAGES
from benchmarks.cases import Case, run

CASES: list[Case] = [*IMAGES, *FOLDERS, *FILES]


def run_table() -> list[dict]:
    """Every row tried, each in a folder of its own; each a dictionary of case, what happens, message and as_said."""
    return [run(case) for case in CASES]


def as_markdown(rows: list[dict]) -> str:
    """The rows as a Markdown table, after a line of figures: how many were tried, how many went as the table says."""
    names = ("case", "what happens", "message")
    cells = [names, ("---",) * len(names), *(tuple(_cell(row[name]) for name in names) for row in rows)]
    figures = f"{len(rows)} kinds of input tried, {sum(row['as_said'] for row in rows)} as the table says."
    return "\n".join([figures, "", *(f"| {' | '.join(row)} |" for row in cells)])


def _cell(text: str) -> str:
    """Text that stays as it is in a Markdown table."""
    return html.escape(text, quote=False).replace("|", "&#124;")
