"""Where programs that nobody has read are run: in a process of their own that can reach nothing, or not at all."""
