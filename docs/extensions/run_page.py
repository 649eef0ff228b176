"""Run the Python blocks of one page in a fresh interpreter; print what each shows, as JSON.

python docs/extensions/run_page.py < blocks.json

The input is a list of sources. The output is a list of ``{"text", "figures"}``, where a figure is
``{"png", "alt"}`` with base64 and a sentence for those who do not see it.
"""

import base64
import contextlib
import io
import json
import sys
import textwrap
import traceback
import warnings

DPI = 110
#: characters of a line that a page has room for
WIDTH = 92


def describe(figure) -> str:
    """What a figure shows, in words: its titles and axes."""
    said = []
    for axes in figure.axes:
        title = axes.get_title() or axes.get_title("left")
        x, y = axes.get_xlabel(), axes.get_ylabel()
        labels = " against ".join(label for label in (y, x) if label)
        said.append(": ".join(part for part in (title, labels) if part))
    return " ".join("; ".join(part for part in said if part).split()) or "A figure"


def open_figures() -> list[dict[str, str]]:
    """Every figure that is open, as PNG; it is closed then."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    found = []
    for number in pyplot.get_fignums() if pyplot else ():
        figure, buffer = pyplot.figure(number), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        png = base64.b64encode(buffer.getvalue()).decode()
        found.append({"png": png, "alt": describe(figure)})
        pyplot.close(figure)
    return found


def run(sources: list[str], page: str) -> list[dict]:
    """Run the sources one after the other in one namespace; figures open before are closed."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    namespace: dict = {"__name__": page}
    shown: list[dict] = []
    warned: set[str] = set()  # every warning is shown once
    for source in sources:
        text = io.StringIO()

        def note(message, category, *_, text=text, **__):
            line = textwrap.fill(f"{category.__name__}: {message}", WIDTH, subsequent_indent="  ")
            line += "\n"
            # that pages train briefly is said once for all numbers of epochs
            key = category.__name__ if category.__name__ == "ConvergenceWarning" else line
            text.write("" if key in warned else line)
            warned.add(key)

        with warnings.catch_warnings(), contextlib.redirect_stdout(text):
            warnings.simplefilter("default")
            warnings.showwarning = note
            exec(compile(source, page, "exec"), namespace)
        shown.append({"text": text.getvalue(), "figures": open_figures()})
    return shown


def main() -> int:
    """Read the blocks, run them, print what they show; the traceback where one fails."""
    import matplotlib

    matplotlib.use("Agg")
    with contextlib.suppress(ImportError):
        import pandas

        pandas.set_option("display.width", WIDTH, "display.max_columns", 12)
    given = json.load(sys.stdin)
    try:
        shown = run(given["sources"], given["page"])
    except Exception:
        traceback.print_exc()
        return 1
    json.dump(shown, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
