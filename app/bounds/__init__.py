"""Lists the bounds that ``docs/limits.md`` documents."""
