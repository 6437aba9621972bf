"""What is read of a run without Python: a page of a result, and how far a run on disk is.

Calls the analyses and the pictures; the command line calls it.
"""
