"""An environment as links into the store."""
