"""Matchers: the features of two images -> pairs of them."""
