"""Ways of asking that may make a model less alike, each an ordinary model: one line of a study chooses them."""
