"""The attach protocol: claims, reservations, reconciliation, and the backend calls under them."""
