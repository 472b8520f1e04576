"""Makes run directories from what other tools recorded: Chrome traces of ``torch.profiler``, and trace event files."""
