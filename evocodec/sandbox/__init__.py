"""The sandbox: policy, static review, and the launchers that run candidates."""
