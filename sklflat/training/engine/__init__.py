"""One training step on one vector: passes, recordings, updates, and the skorch net around them."""
