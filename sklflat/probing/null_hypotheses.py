"""What a p-value rejects, in words: the one place where that is said of every null."""

from collections.abc import Iterable

__all__ = ["NOT_SAID", "NULL_HYPOTHESES", "in_words"]

_NO_TIE = "that on these rows the targets have nothing to do with the network"
_NOT_LEARNED = "that units of networks trained on labels without meaning score as high"

#: by the name of a null, what is true under it
NULL_HYPOTHESES = {
    "permuted targets": _NO_TIE,
    "permuted targets of groups": _NO_TIE,
    "targets shifted in time": _NO_TIE,
    "networks trained on permuted labels": _NOT_LEARNED,
    "trained on shuffled labels": _NOT_LEARNED,
    "shuffled labels": _NOT_LEARNED,
    "untrained twins": "that units of networks that were not trained score as high",
    "untrained networks": "that units come back as often in networks that were not trained",
    "fresh initialisations": "that units of trainings from other initial weights are as consistent",
    "unrelated units, matched on other rows": (
        "that units which have nothing to do with each other are as alike once they are matched"
    ),
    "random rotations of the layers": "that any directions of its layer are as alike",
    "directions in its parameters": "that any direction in the unit's parameters scores as high",
    "independent orders": "that the probes order the units independently of each other",
    "random directions": "that random directions of the parameters move the unit as much",
}

#: what none of them is about
NOT_SAID = "That the network needs the unit is not said by it."


def in_words(names: Iterable[str]) -> str:
    """What a small p-value rejects that is the greatest over some nulls.

    Parameters
    ----------
    names : iterable of str
        Of the nulls. One that is not known is called by its name.

    Returns
    -------
    sentence : str
        Empty where there are no nulls.

    Examples
    --------
    >>> from sklflat.probing.null_hypotheses import in_words
    >>> print(in_words(["permuted targets"]))
    A small p rejects that on these rows the targets have nothing to do with the network.
    >>> print(in_words(["untrained twins", "rolled dice"]))
    A small p rejects that units of networks that were not trained score as high; and that scores \
under rolled dice are as high.
    """
    claims = [NULL_HYPOTHESES.get(n, f"that scores under {n} are as high") for n in names]
    claims = list(dict.fromkeys(claims))
    return f"A small p rejects {'; and '.join(claims)}." if claims else ""
