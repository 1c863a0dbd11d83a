"""What everything is said in: records, seeds, errors, checks."""
