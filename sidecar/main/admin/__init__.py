"""The admin server, one module for each group of endpoints."""
