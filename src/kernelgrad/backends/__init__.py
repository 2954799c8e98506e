"""Machines other than the CPU. Nothing here is imported before an array first names such a device."""
