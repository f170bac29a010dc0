"""The drill: real traffic, a fault put into the candidate on purpose, and the time it takes until the flag is off.

Works on any ASGI application. Draws nothing on a screen and writes no report.
"""
