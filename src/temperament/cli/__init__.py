"""The ``temperament`` command: one file per subcommand, one place for errors, progress and JSON."""
