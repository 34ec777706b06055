"""Turns: what is said to sessions, and what becomes of it."""
