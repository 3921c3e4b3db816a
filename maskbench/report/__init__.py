"""Tables, figures and the page, from recorded metrics alone."""
