"""One account on one venue: gates, sizes, routes, orders, what they own and what is written of it.

Put here: a step of the way from a signal to a booked fill. Keep out: markets (market/), venues
(venues/), what decides to trade (strategies/), the loop around it all (live.engine).
"""
