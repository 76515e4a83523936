"""dstack, a runtime for containers in TDX guests: an attester here; what it produces is TDX evidence."""
