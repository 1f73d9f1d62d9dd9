"""What a test sets up for the log of this process ends with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kvnode.data.logs import LOGGERS


@contextmanager
def logging_restored() -> Iterator[None]:
    """Handlers, level and propagation of our loggers are afterwards what they were.

    A logger that has ceased to propagate changes other tests: pytest attaches to such ones a handler of its own, which
    fails the test for a record whose arguments do not fit.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
