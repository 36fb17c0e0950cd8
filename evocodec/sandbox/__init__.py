"""The wall: policy, static review, launcher."""
