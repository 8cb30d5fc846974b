"""The message exchange under load, failure and damage, with a book kept of every request (the ledger)."""
