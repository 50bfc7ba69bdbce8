"""The exceptions that reach a person. Each message is a sentence: the thing, what is wrong, what to do.

They are raised where the fact is known and caught at two edges only: the command line and the page.
"""


class VitquantError(Exception):
    """Something a person can understand and act on went wrong (command line: exit status 1)."""


class InputError(VitquantError):
    """What was asked for, or the file that was given, cannot be used as it is (exit status 2)."""


class Cancelled(VitquantError):
    """The run was cancelled; what it had measured is kept (exit status 130)."""


class Busy(VitquantError):
    """Times are being taken: what was asked for has to wait, and can be asked for again afterwards."""
