"""``python -m temperament``."""

from temperament.cli.main import main

main()
