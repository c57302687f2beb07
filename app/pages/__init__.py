"""What a browser is shown: the landing page, GraphiQL, the REST door's documentation, and the files they load."""
