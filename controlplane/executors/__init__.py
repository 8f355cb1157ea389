"""How attempts run on capacity that they have been given."""
