"""``python -m kvnode`` is ``kv``."""

from kvnode.cli.main import run

if __name__ == "__main__":
    run()
