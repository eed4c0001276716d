"""Faults: kills, full disks, forbidden places, clocks that jump, many at once; what the store promises in each."""
