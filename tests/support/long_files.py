"""Test files that take long: they are started first, and marked slow.

Of files that run side by side, a long one that starts last is waited for by everybody.
"""

SECONDS = {
    "test_controller_image": 400,
    "test_redteam": 300,
    # Not beside the other image, whose packages it shares, nor beside the other red team.
    "test_sandbox_image": 290,
    "test_engine": 250,
    "test_resume_anywhere": 220,
    "test_ray_cluster": 200,
    "test_cli": 150,
    "test_chaos": 150,
    "test_resume": 120,
    "test_aws_run": 110,
    "test_cheaters": 110,
    "test_head_death": 100,
    "test_prometheus": 80,
    "test_model_run": 80,
    "test_seed_portability": 60,
}
"""Modules of more than a minute with ``--durations=0``, two busy cores: the order counts."""
