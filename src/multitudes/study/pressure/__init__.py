"""The pressure experiment: is a persona put on or put in? Plan, run, resume, and read what was stored."""
