"""For tests of agents, of this project and of others."""
