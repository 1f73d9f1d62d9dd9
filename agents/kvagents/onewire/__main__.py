"""``python -m kvagents.onewire NAME --node ADDRESS [--server HOST:PORT] [--dest PATH]``."""

import sys

from kvagents.framework.run import main
from kvagents.onewire.agent import OneWire

if __name__ == "__main__":
    sys.exit(main(OneWire()))
