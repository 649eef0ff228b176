"""Technique 6: what a classifier says at other temperatures of its softmax."""

from sklflat.temperature.softened import logits_of, softened

__all__ = ["logits_of", "softened"]
