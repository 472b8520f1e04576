"""The C++ operator recorder and its build."""
