"""Pictures of the displays as small PNG files."""

import io
from collections.abc import Callable
from typing import Any

#: dots per inch, and the width in dots beyond which there are fewer
_DPI, _WIDEST = 100, 1400
#: colours of the palette
_N_COLOURS = 32


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
    return reduced(buffer.getvalue(), 1.0)


def reduced(png: bytes, share: float) -> bytes:
    """A picture of few colours, of this share of its width.

    Parameters
    ----------
    png : bytes
    share : float
        In (0, 1].
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    if share < 1:
        image = image.resize((round(image.width * share), round(image.height * share)))
    buffer = io.BytesIO()
    image.quantize(_N_COLOURS).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
