"""One module per command, imported by ``app.cli`` when the command runs."""
