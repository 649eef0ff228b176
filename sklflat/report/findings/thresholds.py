"""The thresholds of findings: numbers on whose sides different words are said."""

#: share of a constant's loss up to which the rise in the sharpest direction is called flat
FLAT = 0.01
#: and from which on it is called sharp
SHARP = 0.1
#: share by which two curvatures may differ and be about equal, however sure the difference is
ALIKE = 0.05
#: length of the step, the radius of sharpness-aware minimisation
RADIUS = 0.05
#: error of the midpoint above that of the ends up to which networks are connected
BARRIER = 0.02
#: share of the living units from which on it is said that most come back
MOST = 0.5
#: and below which it is said that few do
FEW = 0.1
#: mean correlation above chance up to which units come back no more than by chance
RETURN = 0.1
#: level of single tests
LEVEL = 0.05
#: fewer rows decide nothing
FEWEST_ROWS = 20
#: fidelity of a tree that can stand for a network
FAITHFUL = 0.9
#: accuracy that a ticket may lose
TICKET = 0.02


def too_few(n_rows: int) -> str:
    """That rows are too few, in words.

    Parameters
    ----------
    n_rows : int
    """
    return f"{n_rows} held-out rows are too few to say (at least {FEWEST_ROWS})"
