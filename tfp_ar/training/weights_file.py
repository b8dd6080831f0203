"""The error for files of weights that cannot be read."""


class WeightsFileError(OSError, ValueError):
    """A file of weights cannot be read; an OSError, for which BackupAndRestore has a fallback."""
