"""Interval arithmetic over integer graphs: what every value can be, from types and constants alone.

It shares no line with the code that lowers models, so that it can hold them to account.

    interval.py     sets of integers between two bounds, for each channel
    analysis.py     the walk over the graph, what is found on the way
    rules.py        operator by operator
    products.py     convolutions and matrix products: bounds over the actual weights
    relations.py    what intervals alone cannot see: x against its own maximum, roots, lengths
"""
