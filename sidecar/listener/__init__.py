"""The first floor: accept, listener filters, the filter chain match."""
