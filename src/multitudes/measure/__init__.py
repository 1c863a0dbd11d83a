"""Gauges: pure functions on records and arrays; models only as injected judges and encoders."""
