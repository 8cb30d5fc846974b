"""Hundreds of applications accepted and completed at the same moment: no ID twice, none skipped, nobody stuck."""
