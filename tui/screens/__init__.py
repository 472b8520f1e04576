"""Screens over the panes: details, the help, the export, and what is said where there is nothing to show."""
