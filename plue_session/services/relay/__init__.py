"""The relay: agents attached to sessions, from their spawn to their cleaning."""
