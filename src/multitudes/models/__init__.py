"""What speaks: one protocol; a local engine, endpoints, fakes; encoders."""
