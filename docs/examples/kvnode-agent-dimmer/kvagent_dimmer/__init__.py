"""An agent for a box with dimmers that talks lines over TCP."""
