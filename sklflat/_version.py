"""The version, which files of trainings carry."""

__version__ = "0.1.0"
