"""What several test modules share: servers, fakes, sample events, a laboratory for a toy codec."""
