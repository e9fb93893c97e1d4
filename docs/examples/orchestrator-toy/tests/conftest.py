import pytest

pytest.register_assert_rewrite("orchestrator.testing")  # shows both sides of what differs
