"""Bytes to typed values and back: the one edge where what comes from outside is checked and bounded."""
