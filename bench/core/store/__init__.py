"""What is fetched or made once and kept: cache, locks, wheels, hub files, conversions. The only place that talks to
the hub.

May import: core.
"""
