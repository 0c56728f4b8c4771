"""Fixtures of several test files."""

import pytest

from poblano_flows.asic.liberty import load_library
from poblano_flows.asic.tools import AsicError, sta_program


@pytest.fixture(scope="session")
def standard_cells():
    """The library and OpenSTA, out of their packages."""
    try:
        load_library()
        sta_program()
    except AsicError as error:
        pytest.skip(str(error))
