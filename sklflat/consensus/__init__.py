"""Units that several probes agree on."""

from sklflat.consensus.agreement import RankAgreement
from sklflat.consensus.display import ConsensusDisplay
from sklflat.consensus.probe import UnitConsensus
from sklflat.consensus.rank_aggregation import midranks, rho_scores

__all__ = ["ConsensusDisplay", "RankAgreement", "UnitConsensus", "midranks", "rho_scores"]
