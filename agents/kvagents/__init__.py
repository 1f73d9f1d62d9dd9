"""Agents: each folder connects one kind of field bus or service to a kvnode cluster, on top of ``framework``."""
