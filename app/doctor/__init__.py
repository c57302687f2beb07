"""``agentgraph doctor``: checks the settings and everything that they name, and says what to do about each problem."""
