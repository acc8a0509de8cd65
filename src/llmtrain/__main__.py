"""``python -m llmtrain``."""

from llmtrain.cli import entry

if __name__ == "__main__":
    entry()
