"""Finite Markov decision processes with known dynamics, and their exact solution."""

from fathom.mdp.model import MDP

__all__ = ["MDP"]
