"""For testers: sample mails, and peers that speak as the real ones do."""
