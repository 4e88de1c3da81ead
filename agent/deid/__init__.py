"""De-identification: nothing that identifies a patient leaves, and what leaves is checked once more by other means."""
