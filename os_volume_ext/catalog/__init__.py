"""Catalogs: is there such a volume, whose is it, and where are its bytes? ``base`` says what a catalog is."""
