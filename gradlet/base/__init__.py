"""What everything stands on: settings, element types, small pure helpers."""
