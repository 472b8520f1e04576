"""Shows both sides of the comparisons that the support code asserts."""

import pytest

pytest.register_assert_rewrite("tests.support.recording", "tests.support.terminal")
