"""How different texts are, at equal budget, and whether the difference is worth anything."""
