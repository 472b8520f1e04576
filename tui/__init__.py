"""The run in the terminal: app, screens, widgets and styles. Holds no analysis of its own."""
