"""The Assistant Axis: the direction from the average role to the default: collect, fit, read, steer, cap, hold."""
