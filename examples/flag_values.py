"""Checks of the values of flags, for programs whose flags have nothing else in common."""


def are_positive(numbers) -> bool:
    """Returns True if a list flag has at least one string and all are positive integers."""
    return bool(numbers) and all(n.isdecimal() and int(n) for n in numbers)
