"""What comes back in another training: units that networks from other seeds have, too."""

from sklflat.universality.display import UniversalityDisplay
from sklflat.universality.probe import UniversalityProbe
from sklflat.universality.reliability import Reliability

__all__ = ["Reliability", "UniversalityDisplay", "UniversalityProbe"]
