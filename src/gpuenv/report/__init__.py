"""Values in, words out: conflict prose, differences, plans, progress, JSON. Decides nothing."""
