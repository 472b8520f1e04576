"""The HTML report: what it shows is made by page.py, how it looks and behaves stands in the files beside it."""
