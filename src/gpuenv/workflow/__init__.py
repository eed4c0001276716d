"""The user's verbs, step by step, one a file: they wire the stages together, return values and print nothing."""
