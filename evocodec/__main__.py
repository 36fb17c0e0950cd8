"""``python -m evocodec``: the command line, where its script is not on the path."""

from evocodec.cli.main import entry

if __name__ == "__main__":
    entry()
