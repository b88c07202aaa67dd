"""The same API in other frameworks."""
