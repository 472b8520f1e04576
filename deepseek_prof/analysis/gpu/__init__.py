"""What accelerators did: busy and idle time and why, launches, overlap, tensor cores, roofline. Pure functions."""
