"""HTTP: every entry point of a room, who may call it, and how errors are told."""
