"""The ``kv`` command. Nothing imports this package; docs/reference/cli.md describes it for its users."""
