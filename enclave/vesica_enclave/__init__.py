"""The process that a room runs in: settings, server, hardening."""
