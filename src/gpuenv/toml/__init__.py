"""TOML in and out: the door to `tomllib` (read) and `tomlkit` (edit); import the module that you need."""
