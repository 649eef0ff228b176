"""Whether a small tree can stand for the network."""

from sklflat.report.findings import tree_stands_for_network
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.techniques.base import (
    Reading,
    Technique,
    always,
    figure_of,
    fitted,
    unit_columns,
)
from sklflat.surrogate import SurrogateAligner, SurrogateDisplay


def fit(subject: Subject) -> SurrogateAligner:
    """Teach a small tree what the network says."""
    effort = subject.effort
    aligner = SurrogateAligner(
        subject.network,
        n_basin_models=effort.n_basin_models,
        n_redraws=effort.n_redraws,
        min_fidelity=0.0,  # the finding says it
        random_state=subject.seed,
    )
    return fitted(aligner, subject.at_most(subject.held_out, effort.max_rows))


def read(aligner: SurrogateAligner, subject: Subject) -> Reading:
    """Fidelity beside that of a tree which has never seen the network."""
    report = aligner.fidelity_
    gain = report.gain.value, report.gain.low, report.gain.high
    finding = tree_stands_for_network(
        subject.name, report.value, gain, report.verdict, subject.is_classifier
    )
    quantities = [
        Quantity(
            "fidelity",
            report.value,
            "Share of held-out rows that the tree gives the network's label."
            if subject.is_classifier
            else "R² of the tree to the network's outputs on held-out rows; 1 is perfect.",
            low=report.of("surrogate", "low"),
            high=report.of("surrogate", "high"),
            source="fidelity_.value",
        ),
        Quantity(
            "gain",
            gain[0],
            "Fidelity less that of the same tree taught the targets: what it says of the network."
            + (
                "" if subject.is_classifier else " R² has no lower bound: beyond 2 its sign counts."
            ),
            low=gain[1],
            high=gain[2],
            source="fidelity_.gain",
        ),
        Quantity(
            "stable splits",
            report.stability,
            "Share of redrawn data on which the top splits come back.",
            source="fidelity_.stability",
        ),
    ]
    said = "The basin of the network was not sampled."
    for test in aligner.degeneracy_.values():
        quantities.append(
            Quantity(
                "disagreement where the basin varies",
                test.auc,
                "Probability that of two rows of equal margin the models of the basin differ more "
                "on the one on which tree and network differ; 0.5 is chance.",
                source="degeneracy_",
            )
        )
        said = f"Where tree and network disagree: {test.verdict} (p = {test.p_value:.2g})."
        break
    rules = len(aligner.rules_)
    alt = f"Fidelity of the tree beside the others, and the tree itself, of {rules} rules."
    return Reading(
        (finding.statement, said),
        tuple(quantities),
        "A tree of the same size that was taught the targets and has never seen the network. "
        f"Units: {aligner.null_hypothesis_}",
        (finding,),
        unit_columns(aligner, explained_by_inputs=aligner.unit_scores_),
        alt=alt,
    )


SURROGATE = Technique(
    "surrogate",
    "A small tree in its place",
    "Can a small tree stand for the network?",
    "surrogate",
    always,
    fit,
    read,
    figure_of(SurrogateDisplay),
)
