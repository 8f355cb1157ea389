"""The HTTP face: parse, call the operation, render. No rule of the business lives here."""
