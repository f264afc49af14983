"""What other programs see of a run: events, a Prometheus textfile, OpenTelemetry, and a command at its end."""
