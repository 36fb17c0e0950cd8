"""The four dashboards, a file each."""

from boards import fleet, models, run, security

BOARDS = (run.BOARD, fleet.BOARD, models.BOARD, security.BOARD)
