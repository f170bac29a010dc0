"""`canary demo`: a small shop, real traffic, a fault, and the flag that goes off by itself."""
