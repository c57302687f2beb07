"""The suite of doors: it runs against embedded services, and the same against the real ones."""
