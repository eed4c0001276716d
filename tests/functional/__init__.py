"""The real command in a process of its own, against a loopback index: exit codes, words, files."""
