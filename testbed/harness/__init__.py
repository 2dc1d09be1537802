"""Real OpenStack clouds on loopback addresses: what testbed.py is made of."""
