"""Stickiness under pressure: how much of a persona is kept, for how long, and whether it comes back."""
