"""Estimators that choose their own radius and L2 penalty by cross-validation."""
