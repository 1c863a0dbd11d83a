"""Signal or noise: components of variance, what they mean, and whether a panel may stand in for people."""
