"""The pages: the landing page, GraphiQL, the documentation of the REST endpoints, and the files that they load."""
