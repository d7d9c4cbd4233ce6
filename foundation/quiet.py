"""See `foundation.log`, which this name goes to."""

from foundation.log import quiet_libraries

__all__ = ["quiet_libraries"]
