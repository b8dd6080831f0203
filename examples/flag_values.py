"""What the values of flags have to be, for programs whose flags have nothing else in common."""


def are_positive(numbers) -> bool:
    """Whether the strings of a list flag are positive integers, one at least."""
    return bool(numbers) and all(n.isdecimal() and int(n) for n in numbers)
