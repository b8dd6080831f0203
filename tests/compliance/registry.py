"""For tests that still look for toys here."""

from tests.toys import LazyReversed, MaskedPairs, Shuffled, decreasing, sinh_arcsinh  # noqa: F401
