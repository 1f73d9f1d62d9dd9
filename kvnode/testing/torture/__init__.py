"""Real nodes on real networks under load, cut and killed; a history of all that clients did; a checker for it."""
