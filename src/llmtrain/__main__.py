"""``python -m llmtrain``."""

from llmtrain.cli.main import entry

if __name__ == "__main__":
    entry()
