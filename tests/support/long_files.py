"""Test files that take long: they are started first, and marked slow.

Of files that run side by side, a long one that starts last is waited for by everybody.
"""

SECONDS = {
    "test_resume_anywhere": 250,
    "test_redteam": 300,
    "test_engine": 300,
    "test_head_death": 200,
    "test_chaos": 150,
    "test_ray_cluster": 150,
    "test_aws_run": 100,
    "test_sandbox_image": 100,
    "test_controller_image": 100,
    "test_resume": 80,
}
"""Modules of more than a minute with ``--durations=0``, two busy cores: the order counts."""
