"""The ``temperament`` command, and ``python -m temperament``."""

import sys


def main() -> None:
    """Run the command; Ctrl-C while it is still being imported ends it as quietly as later on."""
    try:
        from temperament.cli.main import main as command
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before anything was done\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
