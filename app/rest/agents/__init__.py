"""Serves the user's agents as models at ``/v1`` (decision 0085)."""
