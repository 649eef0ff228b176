"""Trainings as units of work: done by workers, kept in a directory, saved as files."""

from sklflat.training.runs.training import Training

__all__ = ["Training"]
