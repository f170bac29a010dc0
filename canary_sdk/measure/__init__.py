"""Measurement in memory: the ring requests are left in, and the counters they become. It knows arms, never flags.

`ring` takes a record from a request; `arena` keeps monotone counters an `arm` that all processes of a host can read,
and what they count for a `trial`; `sketch` says which bin a duration belongs to; `window` remembers the last slices.
The arena's file is drawn in `layout`, opened in `mapping`, and shared out in `segment`.
"""
