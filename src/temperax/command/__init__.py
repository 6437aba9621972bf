"""The command line: typed options become calls of the library.

Calls everything, and nothing calls it.
"""
