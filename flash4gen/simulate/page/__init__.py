"""A simulation as one page of HTML: drawings made of numbers here, words in ``page.html.j2``."""
