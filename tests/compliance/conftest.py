"""Which of these tests `make test` leaves to `make test-all`."""

import pytest


def pytest_collection_modifyitems(items):
    # The whole registry takes longer than the other tests together: an XLA compile for each entry
    # and mode. To do: choose representatives for `make test`.
    for item in items:
        if "tests/compliance" in item.nodeid:
            item.add_marker(pytest.mark.slow)
