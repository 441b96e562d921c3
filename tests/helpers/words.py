"""Words of which tests make posts."""

WORDS = [
    *("lake", "ferry", "dumplings", "noodles", "windy", "museum", "ticket", "friday", "rain", "bicycle", "harbour"),
    *("lantern", "garden", "orange"),
]
