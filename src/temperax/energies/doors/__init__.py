"""Energies from elsewhere: a door for each kind of model that a user brings, imported when it is called.

What comes in by a door is an `Energy` like any other; nothing behind the doors knows where it came from.
"""
