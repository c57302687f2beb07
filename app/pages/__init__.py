"""The landing page, GraphiQL, the REST documentation, and the files of these pages."""
