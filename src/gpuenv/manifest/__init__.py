"""pyproject.toml to `Manifest`, decoded strictly at the border (`decode`), and edits that keep comments (`edit`)."""
