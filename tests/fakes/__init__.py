"""Small real servers and objects that stand in for the outside world in tests."""
