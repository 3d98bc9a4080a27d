"""Fathom: reinforcement learning whose every run is a pure function of what went into it."""

__version__ = "0.1.0"
