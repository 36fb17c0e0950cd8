"""The four dashboards, one file each."""

from observability.boards import fleet, models, run, security

BOARDS = (run.BOARD, fleet.BOARD, models.BOARD, security.BOARD)
