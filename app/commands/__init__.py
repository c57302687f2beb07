"""The commands, each a function of its arguments. ``app.cli`` imports the module of the one that runs."""
