"""The whole of it, live, on this machine: ``make live``."""
