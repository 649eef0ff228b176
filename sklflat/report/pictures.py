"""Pictures of the displays as small PNG files."""

import io
from collections.abc import Callable
from typing import Any

#: dots per inch, and the width in dots beyond which there are fewer
_DPI, _WIDEST = 80, 1050
#: colours of the palette, of which lines of one colour need few
_N_COLOURS = 16
#: quality of a picture that has to be small, from 0 to 100
_QUALITY = 50


def png_of(draw: Callable[[Any], Any], probe: Any) -> bytes | None:
    """The figure of a probe as a PNG file; None without matplotlib.

    Parameters
    ----------
    draw : callable
        Returns a figure.
    probe : object
        What is drawn.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    figure = draw(probe)
    try:
        width, _ = figure.get_size_inches()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=min(_DPI, _WIDEST / width), facecolor="white")
    finally:
        plt.close(figure)
    from PIL import Image

    with Image.open(buffer) as opened:
        image = opened.convert("RGB").quantize(_N_COLOURS)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def as_webp(png: bytes, share: float) -> bytes:
    """A picture as a browser is given it: two thirds of the bytes, and as sharp.

    A share below 1 makes it smaller, with losses: without them the shades between the pixels of a
    smaller picture take more bytes than there were.

    Parameters
    ----------
    png : bytes
    share : float
        Of its width; in (0, 1].
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    settings: dict[str, Any] = {"lossless": True, "quality": 100}
    if share < 1:
        image = image.resize((round(image.width * share), round(image.height * share)))
        settings = {"quality": _QUALITY}
    buffer = io.BytesIO()
    image.save(buffer, format="webp", method=4, **settings)
    return buffer.getvalue()
