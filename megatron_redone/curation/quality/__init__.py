"""Documents chosen by a score of their quality, within what is alike of them."""
