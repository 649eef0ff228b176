"""Many networks of one kind, trained as one."""

from sklflat.training.stacking.trainer import train

__all__ = ["train"]
