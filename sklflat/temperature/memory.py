"""How much is held in memory at once."""

__all__ = ["n_at_once"]

#: numbers, of 8 bytes each
MAX_NUMBERS = 2**22


def n_at_once(n_numbers: int) -> int:
    """How many things of so many numbers each are held at once: one at least."""
    return max(1, MAX_NUMBERS // max(1, n_numbers))
