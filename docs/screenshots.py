"""Pictures of a report and of the documentation's front page, as a browser shows them.

python docs/screenshots.py
"""

import base64
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_build" / "screenshots"
FRONT = ROOT / "docs" / "_build" / "html" / "index.html"
sys.path.insert(0, str(ROOT))
#: what a picture shows at most, in CSS pixels
HIGHEST = 12_000


def shots(browser, path: Path, name: str) -> None:
    """A page at two widths, light and dark, and the report also as it is printed."""
    for width in (400, 1400):
        for dark in (False, True):
            browser.open(path, width, dark)
            height = min(browser.run("document.documentElement.scrollHeight"), HIGHEST)
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            found = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
            picture = FOLDER / f"{name}-{width}-{'dark' if dark else 'light'}.png"
            picture.write_bytes(base64.b64decode(found["data"]))
            print(picture.relative_to(ROOT))
    browser.open(path)
    printed = browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    (FOLDER / f"{name}.pdf").write_bytes(base64.b64decode(printed["data"]))


def main() -> None:
    """Make a quick report on the iris, and look at it and at the front page if it is built."""
    from sklearn.datasets import load_iris

    from sklflat import MinimaReport
    from tests._browser import CHROMIUM, Browser

    if CHROMIUM is None:
        sys.exit("There is no Chromium: `make browser` installs it.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    report = MinimaReport(effort="quick", random_state=0)
    report.fit(*load_iris(return_X_y=True, as_frame=True)).to_html(FOLDER / "report.html")
    with Browser() as browser:
        shots(browser, FOLDER / "report.html", "report")
        if FRONT.exists():
            shots(browser, FRONT, "front")


if __name__ == "__main__":
    main()
