"""Simulate many different people with a model trained to be one."""
