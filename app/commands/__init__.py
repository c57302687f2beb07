"""One module per command. ``app.cli`` imports the module of the command that runs."""
