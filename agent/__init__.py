"""A DICOM destination that checks, de-identifies and uploads what it receives, and brings the report back."""
