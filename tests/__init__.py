"""Tests, in the same tree as the packages they test."""
