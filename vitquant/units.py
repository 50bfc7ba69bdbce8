"""Units of bytes and seconds for people. MB is 10^6 bytes and MiB 2^20; neither is ever called the other."""

MB, MIB = 10**6, 2**20


def name(unit: int) -> str:
    """ "MB", "MiB" or "bytes". unit: the number of bytes in one."""
    return {MB: "MB", MIB: "MiB", 1: "bytes"}[unit]


def bytes_words(count: float, unit: int) -> str:
    """Bytes in MB or MiB, as the unit says; in bytes where they are less than a hundredth of one."""
    if count < unit / 100:
        return f"{count:,.0f} bytes"
    return f"{digits(count / unit)} {name(unit)}"


def seconds_words(seconds: float) -> str:
    """Seconds, in milliseconds below one."""
    return f"{digits(seconds * 1e3)} ms" if seconds < 1 else f"{digits(seconds)} s"


def digits(value: float) -> str:
    """A figure with as many digits as a person reads."""
    if abs(value) < 10:
        return f"{value:.3g}"
    return f"{value:,.1f}".removesuffix(".0") if abs(value) < 1000 else f"{value:,.0f}"
