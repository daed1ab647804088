"""The suite `schedules`."""
