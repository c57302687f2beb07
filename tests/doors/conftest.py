"""The suite of doors, which runs against embedded and against real services."""
