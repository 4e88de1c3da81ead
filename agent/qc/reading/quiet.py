"""pydicom without its voice.

Job: while an object is read, keep pydicom from checking values against their VR and from quoting bad ones in warnings
and log lines: such a value may be a name. Place: wraps everything `agent.qc.measure` does with a data set. It must
never change how another part of the process reads.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Read values as they are; say nothing about them."""
    logger = logging.getLogger("pydicom")
    mode, disabled = config.settings.reading_validation_mode, logger.disabled
    config.settings.reading_validation_mode = config.IGNORE
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = mode
        logger.disabled = disabled
