"""Real data for a first look."""
