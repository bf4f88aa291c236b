"""Every planted fault still matches the code."""

import pytest

from configs.settings import PROJECT_ROOT
from tests.planted_faults import Fault, faults


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_a_fault_changes_one_place_of_the_code(fault: Fault) -> None:
    assert (PROJECT_ROOT / fault.file).read_text().count(fault.before) == 1
    assert fault.before != fault.after
    assert all((PROJECT_ROOT / test).exists() for test in fault.nearest)
