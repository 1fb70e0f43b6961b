"""How a window moves: one file per asset, and the executor of a phase."""
