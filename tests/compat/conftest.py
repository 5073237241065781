"""Keeps pytest from importing the programs, which are for `test_programs.py` to run."""

collect_ignore = ["programs"]
