"""Faces on the command line: parse, call, print. No logic."""
