"""A model inside this process: weights, engine, conversation reuse, taps."""
