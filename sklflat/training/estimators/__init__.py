"""The estimators: parameters, targets, and the way from ``fit`` to a trained net."""
