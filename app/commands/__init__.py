"""The commands of ``agentgraph``. ``app.cli`` imports a command's module only when the command runs."""
